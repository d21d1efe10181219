import numpy as np
import pytest

from nanograd.device.device import Device
from nanograd.device.rng import RNG
from nanograd.layers.dropout import Dropout
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("Dropout")
test_jacobian = jacobian_test("Dropout")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale(float64, p):
    y = Dropout(p, device=float64)(np.ones((50, 1000)))
    assert abs((y == 0).mean() - p) < 0.01
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-4)
    assert abs(y.mean() - 1) < 0.03


def test_backward_uses_the_mask_of_forward(float64):
    layer = Dropout(0.5, device=float64)
    y = layer(np.ones((4, 30))).copy()
    np.testing.assert_array_equal(layer.backward(np.full((4, 30), 3.0)), 3 * y)


def test_off_in_evaluation_and_for_p_0(float64):
    x = np.random.default_rng(0).standard_normal((3, 4))
    for layer in (Dropout(0.9, device=float64).eval(), Dropout(0.0, device=float64)):
        np.testing.assert_array_equal(layer(x), x)
        np.testing.assert_array_equal(layer.backward(x), x)
        assert layer.rng.position == 0, "no random numbers are used up"


def test_masks_differ_from_call_to_call_and_layer_to_layer(float64):
    rng = RNG(0)
    one, two = (Dropout(0.5, device=float64, rng=rng) for _ in range(2))
    x = np.ones((2, 100))
    masks = [layer(x).copy() for layer in (one, two, one)]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    rng.begin_step(0)
    np.testing.assert_array_equal(one(x), masks[0])
    rng.begin_step(1)
    assert not np.array_equal(one(x), masks[0])


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
def test_p_outside_its_range_is_refused(float64, p):
    with pytest.raises(ValueError, match="dropout must be"):
        Dropout(p, device=float64)


def test_without_an_rng_the_devices_seed_decides_or_0():
    x = np.ones((20, 20))
    for seed, device in ((0, None), (5, Device("numpy", seed=5))):
        np.testing.assert_array_equal(Dropout(0.5, device=device)(x), Dropout(0.5, rng=RNG(seed))(x))


def test_a_mask_to_be_used_elsewhere(float64):
    like = np.empty((4, 500))
    layer = Dropout(0.5, device=float64)
    layer.rng.begin_step(0)
    mask = layer.mask("mine", like.shape, like).copy()
    assert set(np.unique(mask)) == {0, 2}
    layer.rng.begin_step(0)
    np.testing.assert_array_equal(layer(np.ones_like(like)), mask)
    assert layer.eval().mask("mine", like.shape, like) is None
    assert Dropout(0.0, device=float64).mask("mine", like.shape, like) is None
