import numpy as np
import pytest

from nanograd import Device
from nanograd.layers.rmsnorm import RMSNorm
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("RMSNorm")
test_jacobian = jacobian_test("RMSNorm")


def test_fresh_layer_gives_each_position_a_mean_square_of_one(float64):
    x = np.random.default_rng(0).standard_normal((4, 5, 64)) * 7 + 3
    y = RMSNorm(64, device=float64)(x)
    np.testing.assert_allclose((y * y).mean(-1), 1, atol=1e-5)
    np.testing.assert_allclose(y / x, (y / x)[..., :1] * np.ones(64), rtol=1e-13)


def test_eps_is_inside_the_root(float64):
    x = np.array([[1.0, -1.0]])
    np.testing.assert_allclose(RMSNorm(2, device=float64, eps=3.0)(x), x / 2, rtol=1e-15)
    np.testing.assert_allclose(RMSNorm(2, device=float64)(x), x / np.sqrt(1 + 1e-5), rtol=1e-15)


def test_without_a_weight_it_has_no_parameter_and_is_the_one_with_ones(float64):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 5))
    one, none = RMSNorm(5, device=float64), RMSNorm(5, False, device=float64)
    assert [name for name, _ in one.named_parameters()] == ["weight"] and not list(none.named_parameters())
    np.testing.assert_allclose(none(x), one(x), rtol=1e-14)
    np.testing.assert_allclose(none.backward(dy), one.backward(dy), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("offset, bound", [(0, 1e-6), (100, 1e-4)])
def test_float32_is_near_float64(offset, bound):
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 2, 64, 128)) + np.array([offset, 0]).reshape(2, 1, 1, 1)
    results = []
    for dtype in ("float32", "float64"):
        layer = RMSNorm(128, device=Device("numpy", dtype=dtype))
        y = layer(x.astype(dtype)).copy()
        results.append((y, layer.backward(dy.astype(dtype)).copy(), layer.weight.grad))
    for single, double in zip(*results, strict=True):
        assert single.dtype == np.float32
        assert np.abs(single - double).max() <= bound * np.abs(double).max()


def test_a_residual_is_added_to_dx_and_to_nothing_else(float64):
    rng = np.random.default_rng(0)
    x, dy, residual = (rng.standard_normal((2, 3, 4)) for _ in range(3))
    alone, beside = RMSNorm(4, device=float64), RMSNorm(4, device=float64)
    for layer in (alone, beside):
        layer(x)
    kept = residual.copy()
    expected = residual + alone.backward(dy)
    np.testing.assert_array_equal(beside.backward(dy, residual), expected)
    np.testing.assert_array_equal(beside.weight.grad, alone.weight.grad)
    np.testing.assert_array_equal(residual, kept)


@pytest.mark.parametrize("weight", [False, True])
def test_over_its_own_input_it_is_the_same(float64, weight):
    rng = np.random.default_rng(0)
    wide, dwide = rng.standard_normal((2, 2, 3, 2, 8))
    x, dy = wide[..., 2:6], dwide[..., 2:6]  # with gaps, as the heads' queries are
    apart, over = RMSNorm(4, weight, device=float64), RMSNorm(4, weight, device=float64)
    expected, dexpected = apart(x.copy()).copy(), apart.backward(dy.copy()).copy()
    outside = wide[..., :2].copy()
    assert over(x, out=x) is x and over.backward(dy, out=dy) is dy
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(dy, dexpected)
    np.testing.assert_array_equal(wide[..., :2], outside)
