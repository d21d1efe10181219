import numpy as np

from nanograd.layers.layernorm import LayerNorm
from tests.support.battery import battery_test, jacobian_test
from tests.support.norms import eps_test, precision_test, residual_test

test_battery = battery_test("LayerNorm")
test_jacobian = jacobian_test("LayerNorm")
test_eps_is_inside_the_root = eps_test(LayerNorm)
test_float32_is_near_float64 = precision_test(LayerNorm)
test_a_residual_is_added_to_dx_and_to_nothing_else = residual_test(LayerNorm)


def test_fresh_layer_normalises_each_position(float64):
    x = np.random.default_rng(0).standard_normal((4, 5, 64)) * 7 + 3
    y = LayerNorm(64, device=float64)(x)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(-1), 1, atol=1e-5)


def test_constant_row_gives_the_bias(float64):
    layer = LayerNorm(8, device=float64)
    layer.bias.value[...] = np.arange(8)
    np.testing.assert_array_equal(layer(np.full((2, 8), 5.0)), np.tile(np.arange(8.0), (2, 1)))
