"""Threads and processes; test_gradcheck.py and `python -m nanograd.gradcheck` check gradients with them on."""

import dataclasses
import threading

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.device.threads import ThreadPool
from nanograd.layers.cross_entropy import IGNORED
from nanograd.optim import adamw
from nanograd.parallel import data_parallel
from nanograd.parallel.data_parallel import CHUNK_ELEMENTS, PARAMETERS_PER_ACTIVATION, DataParallel, Plan, plan_threads
from nanograd.parallel.processes import CAN_FORK

forking = pytest.mark.skipif(not CAN_FORK, reason="this system does not fork")


@pytest.fixture(autouse=True)
def little_is_worth_a_thread(monkeypatch):
    """So that several threads share even the few parameters of a model of this file."""
    for module in (data_parallel, adamw):
        monkeypatch.setattr(module, "WORTH_A_THREAD", 1)


LATER = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "qk_norm": "rms_weight"}


def gpt(dtype="float64", **settings):
    config = {"vocab_size": 7, "block_size": 5, "n_layer": 2, "n_head": 2, "n_embd": 8, "dropout": 0.2} | settings
    return GPT(GPTConfig(**config), Device("numpy", dtype=dtype, seed=1))


def batch(B=7, T=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 7, (B, T)), rng.integers(0, 7, (B, T))


def gradients(threads, chunk, dtype="float64", **settings):
    model = gpt(dtype, **settings)
    idx, targets = batch()
    trainer = DataParallel(model, ThreadPool(threads), chunk)
    trainer.zero_grad()
    loss = trainer.forward_backward(idx, targets, count=idx.size, step=4, first=10)
    trainer.reduce()
    return float(loss), {name: p.grad.copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("settings", [{}, LATER])
def test_any_number_of_threads_and_any_chunk_agree(threads, chunk, settings):
    model = gpt(**settings)
    idx, targets = batch()
    model.rng.begin_step(4, 10)
    _, loss = model(idx, targets)
    model.backward()
    found_loss, found = gradients(threads, chunk, **settings)
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
        model, pool = gpt(), ThreadPool(threads)
        optimizer, trainer = AdamW(model, lr=1e-2, pool=pool), DataParallel(model, pool, chunk=2)
        for step in range(5):
            trainer.zero_grad()
            idx, targets = batch()
            trainer.forward_backward(idx, targets, count=idx.size, step=step)
            trainer.reduce()
            clip_grad_norm(model, 1.0, pool)
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
        trainer = DataParallel(model, ThreadPool(2), chunk=2)
        trainer.zero_grad()
        loss = sum(float(trainer.forward_backward(idx[p], targets[p], idx.size, 3, p.start)) for p in parts)
        trainer.reduce()
        results.append((loss, model.wte.weight.grad.copy()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-13)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-14)


def test_plans():
    small = {"positions": 64, "channels": 128, "parameters": 500_000}
    plan = plan_threads(2, batch_size=32, **small)
    assert (plan.threads, plan.workers, plan.blas) == (2, 2, 1) and 1 <= plan.chunk <= 32
    alone = plan_threads(4, batch_size=1, **small)
    assert (alone.workers, alone.blas) == (1, 4)
    large = plan_threads(2, batch_size=4, positions=64, channels=768, parameters=124_000_000)
    assert (large.workers, large.blas) == (1, 2)


def test_a_batch_is_split_up_to_so_many_parameters():
    sizes = {"batch_size": 4, "positions": 10, "channels": 10}
    most = PARAMETERS_PER_ACTIVATION * 4 * 10 * 10
    assert [plan_threads(2, parameters=most + extra, **sizes).workers for extra in (0, 1)] == [2, 1]


def test_a_plan_stays_as_it_was_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan_threads(1, batch_size=1, positions=1, channels=1, parameters=1).threads = 2


def test_chunks_hold_as_much_as_is_allowed_and_a_sample_at_least():
    sizes = {"threads": 2, "batch_size": 32, "parameters": 0}
    for positions in (64, 65, 1000):
        chunk = plan_threads(positions=positions, channels=128, **sizes).chunk
        assert isinstance(chunk, int)
        assert chunk * positions * 128 <= CHUNK_ELEMENTS < (chunk + 1) * positions * 128
    assert plan_threads(positions=CHUNK_ELEMENTS, channels=2, **sizes) == Plan(2, 2, 1, 1)


def test_loss_is_that_of_evaluation_and_training_goes_on():
    model = gpt()
    idx, targets = batch()
    expected = float(model.eval()(idx, targets)[1])
    model.train()
    trainer = DataParallel(model, ThreadPool(2), chunk=2)
    assert trainer.loss(idx, targets) == pytest.approx(expected, rel=1e-13)
    assert all(layer.training for replica in trainer.replicas for _, layer in replica.named_layers())
    assert not any(p.grad.any() for p in model.parameters())


def test_targets_that_are_ignored_are_left_out_of_the_mean():
    model = gpt(dropout=0.0)
    idx, targets = batch()
    targets[0] = targets[1, :4] = targets[5, 2] = IGNORED
    _, loss = model(idx, targets)
    model.backward()
    expected = {name: p.grad.copy() for name, p in model.named_parameters()}
    trainer = DataParallel(model, ThreadPool(2), chunk=1)
    assert trainer.loss(idx, targets) == pytest.approx(float(loss), rel=1e-13)
    trainer.zero_grad()
    share = trainer.forward_backward(idx, targets, count=(targets != IGNORED).sum())
    trainer.reduce()
    assert share == pytest.approx(float(loss), rel=1e-13)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, expected[name], rtol=0, atol=1e-13 * np.abs(p.grad).max())
    with pytest.raises(ValueError, match="all targets are -100"):
        trainer.loss(idx, np.full_like(targets, IGNORED))


def test_a_step_is_the_first_and_its_batch_whole_unless_said_otherwise():
    losses = []
    for settings in ({}, {"step": 0, "first": 0}):
        idx, targets = batch()
        trainer = DataParallel(gpt(dropout=0.5), ThreadPool(1), chunk=100)
        losses.append(float(trainer.forward_backward(idx, targets, idx.size, **settings)))
    assert losses[0] == losses[1]


def test_as_many_replicas_and_threads_as_the_pool_has():
    trainer = DataParallel(gpt(), ThreadPool(3), chunk=1)
    assert len(trainer.replicas) == 3 and trainer.replicas[0] is trainer.model
    meeting = threading.Barrier(3, timeout=30)
    three = set(trainer.pool.map(lambda i: meeting.wait() >= 0 and threading.current_thread(), range(3)))
    assert len(three) == 3 and threading.current_thread() in three
    # The others' threads are busy when the next items come: a larger pool would start another one.
    assert (
        set(trainer.pool.map(lambda i: threading.Event().wait(0.05) or threading.current_thread(), range(6))) <= three
    )
