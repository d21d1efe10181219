from battery import battery_test, jacobian_test

test_Attention_battery = battery_test("Attention")
test_Attention_jacobian = jacobian_test("Attention")
test_CausalSelfAttention_battery = battery_test("CausalSelfAttention")
test_CausalSelfAttention_jacobian = jacobian_test("CausalSelfAttention")
