from battery import battery_test, jacobian_test

test_MLP_battery = battery_test("MLP")
test_MLP_jacobian = jacobian_test("MLP")
