from battery import battery_test, jacobian_test

test_Block_battery = battery_test("Block")
test_Block_jacobian = jacobian_test("Block")
