"""Threads; test_gradcheck.py and the table of `python -m nanograd.gradcheck` check gradients with them on."""

import threading

import numpy as np
import pytest

from gpt.config import GPTConfig
from gpt.model import GPT
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.parallel import DataParallel, Team, available_cores, plan_threads


def gpt(dtype="float64", **settings):
    config = {"vocab_size": 7, "block_size": 5, "n_layer": 2, "n_head": 2, "n_embd": 8, "dropout": 0.2} | settings
    return GPT(GPTConfig(**config), Device("numpy", dtype=dtype, seed=1))


def batch(B=7, T=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 7, (B, T)), rng.integers(0, 7, (B, T))


def gradients(threads, chunk, dtype="float64"):
    model = gpt(dtype)
    idx, targets = batch()
    parallel = DataParallel(model, Team(threads), chunk)
    parallel.zero_grad()
    loss = parallel.forward_backward(idx, targets, count=idx.size, step=4, first=10)
    parallel.reduce()
    return float(loss), {name: p.grad.copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_any_number_of_threads_and_any_chunk_agree(threads, chunk):
    model = gpt()
    idx, targets = batch()
    model.noise.begin(4, 10)
    _, loss = model(idx, targets)
    model.backward()
    found_loss, found = gradients(threads, chunk)
    assert found_loss == pytest.approx(float(loss), rel=1e-13)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], p.grad, rtol=0, atol=1e-13 * np.abs(p.grad).max())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_threads_give_the_same_bits(threads):
    (loss, one), (again, two) = gradients(threads, 2, "float32"), gradients(threads, 2, "float32")
    assert loss == again
    for name, gradient in one.items():
        assert gradient.tobytes() == two[name].tobytes(), name


def test_steps_of_training_agree():
    states = []
    for threads in (1, 3):
        model, team = gpt(), Team(threads)
        optimizer, parallel = AdamW(model, lr=1e-2, team=team), DataParallel(model, team, chunk=2)
        for step in range(5):
            parallel.zero_grad()
            idx, targets = batch()
            parallel.forward_backward(idx, targets, count=idx.size, step=step)
            parallel.reduce()
            clip_grad_norm(model, 1.0, team)
            optimizer.step()
        states.append(model.state_dict())
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=0, atol=1e-12)


def test_two_halves_are_the_whole():
    """Gradient accumulation: shares of one mean, keyed by the global index of their samples."""
    idx, targets = batch(6)
    results = []
    for parts in ([slice(0, 6)], [slice(0, 2), slice(2, 6)]):
        model = gpt()
        parallel = DataParallel(model, Team(2), chunk=2)
        parallel.zero_grad()
        loss = sum(float(parallel.forward_backward(idx[p], targets[p], idx.size, 3, p.start)) for p in parts)
        parallel.reduce()
        results.append((loss, model.wte.weight.grad.copy()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-13)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-14)


def test_team_maps_in_order_and_side_by_side():
    team = Team(3)
    meeting = threading.Barrier(3, timeout=30)

    def work(i):
        meeting.wait()
        return i * i

    assert team.map(work, range(3)) == [0, 1, 4]
    assert Team(1).map(lambda i: i + 1, range(4)) == [1, 2, 3, 4]
    assert team.map(lambda i: -i, []) == []


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_any_thread_is_raised(bad):
    def work(i):
        if i == bad:
            raise ArithmeticError(f"item {i}")
        return i

    with pytest.raises(ArithmeticError, match=f"item {bad}"):
        Team(3).map(work, range(3))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 6, 7, 100])
def test_slices_cover_everything_once_and_nearly_equally(size, n):
    slices = Team(size).slices(n)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(n))
    lengths = [part.stop - part.start for part in slices]
    assert len(slices) == min(size, n) and (not n or (max(lengths) - min(lengths) <= 1 and min(lengths) > 0))


def test_plans():
    small = {"positions": 64, "channels": 128, "parameters": 500_000}
    plan = plan_threads(2, batch_size=32, **small)
    assert (plan.team, plan.workers, plan.blas) == (2, 2, 1) and 1 <= plan.chunk <= 32
    alone = plan_threads(4, batch_size=1, **small)
    assert (alone.workers, alone.blas) == (1, 4)
    large = plan_threads(2, batch_size=4, positions=64, channels=768, parameters=124_000_000)
    assert (large.workers, large.blas) == (1, 2)


def test_cores_are_at_least_one():
    assert available_cores() >= 1
