import math

import numpy as np
import pytest

from nanograd.gradcheck.check import check_layer
from nanograd.layers.cross_entropy import IGNORED, CrossEntropy
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("CrossEntropy")
test_jacobian = jacobian_test("CrossEntropy")


def loss_and_gradient(logits, targets, **settings):
    layer = CrossEntropy()
    loss = layer.forward(logits, np.asarray(targets), **settings)
    return loss, layer.backward()


def test_equal_logits_cost_ln_v():
    for V in (1, 2, 50257):
        loss, _ = loss_and_gradient(np.zeros((3, V)), [0, 0, V - 1])
        assert loss == pytest.approx(math.log(V), abs=1e-12)


def test_v_1_costs_nothing_and_teaches_nothing():
    loss, gradient = loss_and_gradient(np.array([[5.0], [-1e4]]), [0, 0])
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_1e4(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype=dtype)
    loss, gradient = loss_and_gradient(logits, [0, 0, 1, 2])
    assert loss == pytest.approx((0 + 2e4 + math.log(2) + math.log(3)) / 4, rel=1e-6)
    third = 1 / 3
    expected = np.array([[0, 0, 0], [-1, 1, 0], [0.5, -0.5, 0], [third, third, third - 1]]) / 4
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    assert gradient.dtype == dtype


def test_minus_infinity_for_all_but_the_target():
    logits = np.full((2, 4), -np.inf)
    logits[:, 2] = 3.0
    loss, gradient = loss_and_gradient(logits, [2, 2])
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("offset", [0, 15, 25, 80, 1000])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_gradient_wherever_the_logits_are(offset, shape):
    """Below and above the bound up to which exp is taken without a shift, and with some rows on either side."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape) * 3
    logits[0] += offset
    report = check_layer(CrossEntropy(), logits, rng.integers(0, 5, shape[:-1]), full=True)
    assert report.ok, report


def test_float32_is_near_float64():
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((64, 5000)) * 4).astype(np.float32).astype(np.float64)
    targets = rng.integers(0, 5000, 64)
    double, double_gradient = loss_and_gradient(logits, targets)
    single, single_gradient = loss_and_gradient(logits.astype(np.float32), targets)
    assert single == pytest.approx(double, rel=1e-6)
    assert np.abs(single_gradient - double_gradient).max() < 3e-6 * np.abs(double_gradient).max()


def test_the_mean_is_over_all_positions_whatever_their_axes():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3))
    by_hand = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    expected = np.mean([by_hand[b, t, targets[b, t]] for b in range(2) for t in range(3)])
    assert loss_and_gradient(logits, targets)[0] == pytest.approx(expected, rel=1e-13)
    assert loss_and_gradient(logits.reshape(6, 5), targets.reshape(6))[0] == pytest.approx(expected, rel=1e-13)


def test_count_makes_a_part_of_a_larger_mean():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    whole, gradient = loss_and_gradient(logits, targets)
    parts = [loss_and_gradient(logits[a:b], targets[a:b], count=6) for a, b in ((0, 2), (2, 6))]
    assert sum(loss for loss, _ in parts) == pytest.approx(whole, rel=1e-14)
    np.testing.assert_allclose(np.concatenate([g for _, g in parts]), gradient, rtol=1e-14)


@pytest.mark.parametrize("offset", [0, 1000])
def test_inplace_overwrites_the_logits_and_nothing_else_changes(offset):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 5)) + offset, rng.integers(0, 5, 6)
    loss, gradient = loss_and_gradient(logits.copy(), targets)
    loss_inplace, gradient_inplace = loss_and_gradient(logits, targets, inplace=True)
    assert loss_inplace == loss and np.shares_memory(gradient_inplace, logits)
    np.testing.assert_array_equal(gradient_inplace, gradient)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"targets has shape \(3,\), expected \(2,\)"):
        CrossEntropy().forward(np.zeros((2, 3)), np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="no positions"):
        CrossEntropy().forward(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_targets_on_the_host_go_where_the_logits_are(gpu_xp):
    logits, targets = np.random.default_rng(0).standard_normal((4, 5)), [0, 4, IGNORED, 1]
    on_gpu = CrossEntropy()
    loss = on_gpu(gpu_xp.asarray(logits), np.array(targets))
    expected, gradient = loss_and_gradient(logits, targets)
    np.testing.assert_allclose(loss.get(), expected, rtol=1e-12)
    np.testing.assert_allclose(on_gpu.backward().get(), gradient, atol=1e-12)


# Targets that do not count


def test_ignored_targets_leave_the_mean_over_the_others():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3))
    hidden = np.array([[False, True, False], [True, False, False]])
    layer, rest = CrossEntropy(), CrossEntropy()
    loss = layer.forward(logits, np.where(hidden, IGNORED, targets))
    np.testing.assert_allclose(loss, rest.forward(logits[~hidden], targets[~hidden]), rtol=1e-15)
    dlogits = layer.backward()
    np.testing.assert_allclose(dlogits[~hidden], rest.backward(), rtol=1e-15)
    assert not dlogits[hidden].any()


@pytest.mark.parametrize("targets", [[4, -100, 0, 2], [-100, -100, -100, 0], [0, 1, 2, -100], [1, 2, 3, 4]])
def test_ignored_targets_as_torch_has_them(targets):
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(1).standard_normal((4, 5))
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(targets))
    expected.backward()
    loss, gradient = loss_and_gradient(logits, targets)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-14)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bad", [-1, -99, -101, 5, 10**6])
def test_a_target_that_is_no_id_is_refused(bad):
    logits, targets = np.zeros((2, 5)), np.array([0, bad])
    with pytest.raises(ValueError, match=rf"target {bad} is neither in \[0, 5\) nor -100"):
        CrossEntropy().forward(logits, targets)


@pytest.mark.parametrize("wrong", [[0.0, 1.0], np.array([True, False]), np.array([np.nan, 1.0]), [None, 1]])
def test_targets_that_are_no_integers_are_refused(wrong):
    with pytest.raises(TypeError, match="targets must be integers, not"):
        CrossEntropy().forward(np.zeros((2, 5)), wrong)


def test_targets_may_be_a_list():
    logits = np.random.default_rng(0).standard_normal((2, 5))
    assert CrossEntropy()(logits, [3, IGNORED]) == CrossEntropy()(logits, np.array([3, IGNORED]))


@pytest.mark.parametrize("wrong", [np.ones(1), np.ones(5), np.ones((2, 5)), [1.0]])
def test_the_gradient_of_a_loss_is_one_number(wrong):
    layer = CrossEntropy()
    layer.forward(np.zeros((2, 5)), np.array([0, 1]))
    with pytest.raises(ValueError, match=rf"dloss has shape \({np.shape(wrong)[0]},.*, expected \(\)"):
        layer.backward(wrong)


def test_nothing_but_ignored_targets_is_an_error():
    with pytest.raises(ValueError, match="all targets are -100"):
        CrossEntropy().forward(np.zeros((2, 5)), np.full(2, -100))
