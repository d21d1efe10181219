"""AdamW and clipping; test_reference.py compares 200 steps with PyTorch."""

import math

import numpy as np
import pytest

from nanograd import AdamW, Device, Layer, Parameter, clip_grad_norm
from nanograd.device.threads import ThreadPool
from nanograd.layers.linear import Linear
from nanograd.optim.adamw import CHUNK, clip_scale, grad_norm, zeros


class Bag(Layer):
    """A matrix and a vector."""

    def __init__(self, dtype=np.float64, n=3):
        self.matrix = Parameter(np.linspace(-1, 1, 2 * n).reshape(2, n).astype(dtype))
        self.vector = Parameter(np.linspace(1, 2, n).astype(dtype))


def by_the_formula(p, gradients, lr, beta1, beta2, eps, decay):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * decay * p
        p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


@pytest.mark.parametrize("eps", [1e-8, 0.1])
@pytest.mark.parametrize("n", [3, CHUNK + 7])
def test_steps_are_those_of_the_formula(eps, n):
    rng = np.random.default_rng(0)
    bag = Bag(n=n)
    start = bag.state_dict()
    optimizer = AdamW(bag, lr=0.1, betas=(0.8, 0.9), eps=eps, weight_decay=0.3)
    gradients = [{name: rng.standard_normal(p.shape) for name, p in bag.named_parameters()} for _ in range(4)]
    for step in gradients:
        optimizer.zero_grad()
        for name, p in bag.named_parameters():
            p.grad += step[name]
        optimizer.step()
    for name, decay in (("matrix", 0.3), ("vector", 0.0)):
        expected = by_the_formula(start[name], [g[name] for g in gradients], 0.1, 0.8, 0.9, eps, decay)
        np.testing.assert_allclose(dict(bag.named_parameters())[name].value, expected, rtol=1e-13, atol=1e-14)


def test_first_step_is_lr_long_whatever_the_gradient():
    bag = Bag()
    before = bag.state_dict()
    bag.vector.grad += [1e-3, -1.0, 1e3]
    AdamW(bag, lr=0.01, weight_decay=0.0).step()
    np.testing.assert_allclose(bag.vector.value - before["vector"], [-0.01, 0.01, -0.01], rtol=1e-4)
    np.testing.assert_array_equal(bag.matrix.value, before["matrix"])


def test_decay_shrinks_matrices_alone_and_needs_no_gradient():
    bag = Bag()
    before = bag.state_dict()
    AdamW(bag, lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(bag.matrix.value, before["matrix"] * 0.95, rtol=1e-15)
    np.testing.assert_array_equal(bag.vector.value, before["vector"])


def test_defaults():
    optimizer = AdamW(Bag())
    assert (optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (3e-4, (0.9, 0.95), 1e-8, 0.01)


def test_gradient_scale_is_as_if_the_gradients_had_been_scaled():
    one, two = Bag(), Bag()
    for bag in (one, two):
        bag.matrix.grad += 2.0
        bag.vector.grad += [1.0, -2.0, 3.0]
    clip_grad_norm(one, 0.5)
    AdamW(one, eps=0.1).step()
    AdamW(two, eps=0.1).step(grad_scale=0.5 / (grad_norm(two) + 1e-6))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-13)


def test_threads_change_nothing():
    results, n = [], 2**19
    for pool in (ThreadPool(1), ThreadPool(3)):
        bag = Bag(n=n)
        optimizer = AdamW(bag, lr=0.1, pool=pool)
        for step in range(3):
            bag.zero_grad()
            bag.matrix.grad += np.sin(np.arange(2 * n) + step).reshape(2, n)
            bag.vector.grad += 1
            norm = clip_grad_norm(bag, 1.0, pool)
            optimizer.step()
        results.append((norm, bag.matrix.value.copy()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-13)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-13)


@pytest.mark.parametrize("limit, factor", [(10, 1), (5.1, 1), (2.5, 0.5), (0.05, 0.01)])
def test_clipping_keeps_the_direction_and_returns_the_norm_before(limit, factor):
    bag = Bag()
    bag.matrix.grad[0, 0] = 3
    bag.vector.grad[2] = -4
    assert clip_grad_norm(bag, limit) == pytest.approx(5, rel=1e-15)
    assert bag.matrix.grad[0, 0] == pytest.approx(3 * factor, rel=1e-6)
    assert bag.vector.grad[2] == pytest.approx(-4 * factor, rel=1e-6)
    assert grad_norm(bag) <= max(limit, 0)


def test_norm_counts_every_element_of_long_arrays():
    bag = Bag(n=CHUNK + 5)
    for p in bag.parameters():
        p.grad += 1
    assert grad_norm(bag) == pytest.approx(math.sqrt(3 * (CHUNK + 5)), rel=1e-14)


def test_float32_stays_float32():
    bag = Bag(np.float32)
    optimizer = AdamW(bag)
    bag.matrix.grad += 1
    optimizer.step()
    assert {p.value.dtype for p in bag.parameters()} == {np.dtype("float32")}
    assert {v.dtype for n, v in optimizer.state_dict().items() if n != "step"} == {np.dtype("float32")}


def test_state_goes_round_and_training_goes_on_the_same():
    one, two = Bag(), Bag()
    first, second = AdamW(one), AdamW(two)
    for step in range(6):
        if step == 3:
            two.load_state_dict(one.state_dict())
            second.load_state_dict(first.state_dict())
        for bag, optimizer in ((one, first), (two, second)):
            if bag is one or step >= 3:
                bag.zero_grad()
                bag.matrix.grad += step + 1.0
                bag.vector.grad += [1.0, step, -1.0]
                optimizer.step()
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (0,)])
def test_zeros_are_like_something_else(dtype, shape):
    like = np.full(shape, 7, dtype)
    made = zeros(like)
    assert made.shape == shape and made.dtype == dtype and not made.any() and not np.shares_memory(made, like)


def test_zeros_are_on_the_device_of_what_they_are_like(gpu_xp):
    like = Device(gpu_xp).full((2, 3), 7)
    made = zeros(like)
    assert type(made) is type(like) and made.dtype == like.dtype and not made.get().any()


def test_moments_have_memory_of_their_own():
    optimizer = AdamW(Bag(np.float32))
    moments = [*optimizer.exp_avg, *optimizer.exp_avg_sq]
    for i, moment in enumerate(moments):
        moment += i + 1
    assert [moment.tolist() for moment in moments] == [[i + 1] * moments[i].size for i in range(4)]


def test_a_whole_step_of_decay_leaves_only_the_update():
    """lr * weight_decay = 1: nothing is left of what was there."""
    bag = Bag()
    bag.matrix.grad += 1
    AdamW(bag, lr=0.5, weight_decay=2.0).step()
    np.testing.assert_allclose(bag.matrix.value, -0.5, rtol=1e-7)


def test_state_names():
    state = AdamW(Bag()).state_dict()
    assert sorted(state) == ["exp_avg.matrix", "exp_avg.vector", "exp_avg_sq.matrix", "exp_avg_sq.vector", "step"]
    assert state["step"] == 0 and state["exp_avg.matrix"].shape == (2, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("exp_avg.vector"), "missing optimizer tensors: exp_avg.vector"),
        (lambda s: s.update(extra=np.ones(1)), "unexpected optimizer tensors: extra"),
        (lambda s: s.update({"exp_avg.matrix": np.ones((3, 2))}), "exp_avg.matrix has shape"),
        (lambda s: s.update(step=-1), "no number of steps"),
        (lambda s: s.update(step=1.0), "no number of steps"),
        (lambda s: s.update(step=np.array([1, 2])), "no number of steps"),
        (lambda s: s.update(step=np.array([1.0])), "no number of steps"),
        (lambda s: s.update(step=np.array([3])), "no number of steps"),
    ],
)
def test_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    bag = Bag()
    optimizer = AdamW(bag)
    bag.matrix.grad += 1
    optimizer.step()
    before = optimizer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_model_of_float32_parameters_gets_float32_moments_from_any_state():
    bag = Bag(np.float32)
    optimizer = AdamW(bag)
    optimizer.load_state_dict(AdamW(Bag()).state_dict())
    assert optimizer.state_dict()["exp_avg.matrix"].dtype == Device("numpy").dtype


def test_the_factor_of_clipping_is_at_most_1_wherever_the_norm_lives():
    for norm in (0.5, np.array(0.5)):
        assert clip_scale(norm, 1.0) == 1.0
        assert clip_scale(4 * norm, 1.0) == pytest.approx(0.5, rel=1e-5)


def test_the_state_is_a_copy():
    bag = Bag()
    optimizer = AdamW(bag)
    state = optimizer.state_dict()
    bag.matrix.grad += 1
    optimizer.step()
    assert not state["exp_avg.matrix"].any()


def test_a_model_of_matrices_alone_has_a_norm():
    layer = Linear(2, 3, False, device=Device("numpy", "float64"))
    layer.weight.grad += 2
    assert grad_norm(layer) == pytest.approx(math.sqrt(6 * 4))


def test_clipping_on_a_gpu_waits_for_nothing(gpu_xp, waits):
    layer = Linear(2, 3, False, device=Device(gpu_xp, "float64"))
    layer.weight.grad += 2
    waits()
    norm = clip_grad_norm(layer, 1.0)
    assert not waits()
    assert float(norm) == pytest.approx(math.sqrt(6 * 4))
    np.testing.assert_allclose(layer.weight.grad.get(), 1 / math.sqrt(6), rtol=1e-6)
