from battery import battery_test, jacobian_test

test_Linear_battery = battery_test("Linear")
test_Linear_jacobian = jacobian_test("Linear")
