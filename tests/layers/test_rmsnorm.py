import numpy as np
import pytest

from nanograd.layers.rmsnorm import RMSNorm
from tests.support.battery import battery_test, jacobian_test
from tests.support.norms import eps_test, precision_test, residual_test

test_battery = battery_test("RMSNorm")
test_jacobian = jacobian_test("RMSNorm")
test_eps_is_inside_the_root = eps_test(RMSNorm)
test_float32_is_near_float64 = precision_test(RMSNorm)
test_a_residual_is_added_to_dx_and_to_nothing_else = residual_test(RMSNorm)


def test_fresh_layer_gives_each_position_a_mean_square_of_one(float64):
    x = np.random.default_rng(0).standard_normal((4, 5, 64)) * 7 + 3
    y = RMSNorm(64, device=float64)(x)
    np.testing.assert_allclose((y * y).mean(-1), 1, atol=1e-5)
    np.testing.assert_allclose(y / x, (y / x)[..., :1] * np.ones(64), rtol=1e-13)


def test_without_a_weight_it_has_no_parameter_and_is_the_one_with_ones(float64):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 5))
    one, none = RMSNorm(5, device=float64), RMSNorm(5, False, device=float64)
    assert [name for name, _ in one.named_parameters()] == ["weight"] and not list(none.named_parameters())
    np.testing.assert_allclose(none(x), one(x), rtol=1e-14)
    np.testing.assert_allclose(none.backward(dy), one.backward(dy), rtol=1e-13, atol=1e-15)


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
