import numpy as np
import pytest

from nanograd import Device
from nanograd.layers.layernorm import LayerNorm
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("LayerNorm")
test_jacobian = jacobian_test("LayerNorm")


def test_fresh_layer_normalises_each_position(float64):
    x = np.random.default_rng(0).standard_normal((4, 5, 64)) * 7 + 3
    y = LayerNorm(64, device=float64)(x)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(-1), 1, atol=1e-5)


def test_eps_is_inside_the_root(float64):
    x = np.array([[1.0, -1.0]])
    np.testing.assert_allclose(LayerNorm(2, device=float64, eps=3.0)(x), x / 2, rtol=1e-15)
    np.testing.assert_allclose(LayerNorm(2, device=float64)(x), x / np.sqrt(1 + 1e-5), rtol=1e-15)


def test_constant_row_gives_the_bias(float64):
    layer = LayerNorm(8, device=float64)
    layer.bias.value[...] = np.arange(8)
    np.testing.assert_array_equal(layer(np.full((2, 8), 5.0)), np.tile(np.arange(8.0), (2, 1)))


@pytest.mark.parametrize("offset, bound", [(0, 1e-6), (100, 1e-4)])
def test_float32_is_near_float64(offset, bound):
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 64, 128)) + np.array([offset, 0]).reshape(2, 1, 1)
    results = []
    for dtype in ("float32", "float64"):
        layer = LayerNorm(128, device=Device("numpy", dtype=dtype))
        y = layer(x.astype(dtype)).copy()
        results.append((y, layer.backward(dy.astype(dtype)).copy(), layer.weight.grad, layer.bias.grad))
    for single, double in zip(*results, strict=True):
        assert single.dtype == np.float32
        assert np.abs(single - double).max() <= bound * np.abs(double).max()


def test_a_residual_is_added_to_dx_and_to_nothing_else(float64):
    rng = np.random.default_rng(0)
    x, dy, residual = (rng.standard_normal((2, 3, 4)) for _ in range(3))
    alone, beside = LayerNorm(4, device=float64), LayerNorm(4, device=float64)
    for layer in (alone, beside):
        layer(x)
    kept = residual.copy()
    np.testing.assert_array_equal(beside.backward(dy, residual), residual + alone.backward(dy))
    np.testing.assert_array_equal(beside.weight.grad, alone.weight.grad)
    np.testing.assert_array_equal(residual, kept)
