from battery import battery_test, jacobian_test

test_LayerNorm_battery = battery_test("LayerNorm")
test_LayerNorm_jacobian = jacobian_test("LayerNorm")
