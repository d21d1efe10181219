from battery import battery_test, jacobian_test

test_ReLU_battery = battery_test("ReLU")
test_ReLU_jacobian = jacobian_test("ReLU")
test_GELU_battery = battery_test("GELU")
test_GELU_jacobian = jacobian_test("GELU")
