from battery import battery_test, jacobian_test

test_Embedding_battery = battery_test("Embedding")
test_Embedding_jacobian = jacobian_test("Embedding")
test_PositionEmbedding_battery = battery_test("PositionEmbedding")
test_PositionEmbedding_jacobian = jacobian_test("PositionEmbedding")
test_Unembedding_battery = battery_test("Unembedding")
test_Unembedding_jacobian = jacobian_test("Unembedding")
