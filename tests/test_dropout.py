from battery import battery_test, jacobian_test

test_Dropout_battery = battery_test("Dropout")
test_Dropout_jacobian = jacobian_test("Dropout")
