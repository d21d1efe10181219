"""One step: what it depends on, and what it does not."""

import gc
import math
import os
import sys

import numpy as np
import pytest

from gpt.config.options import TrainConfig
from gpt.data.batches import EVAL_VAL, batch_starts, get_batch
from gpt.model import GPT
from gpt.training.anomaly import NotFinite, origin
from gpt.training.step import Trainer, layer_of
from nanograd.device.device import Device
from nanograd.parallel.data_parallel import plan_threads
from nanograd.parallel.processes import WorkerLost, may_fork
from tests.support.tiny_training import TINY, kill_a_worker, worker_pid

TOKENS = np.random.default_rng(0).integers(0, 11, 600).astype(np.uint16)


def trainer(threads=1, device="numpy", **flags):
    flags = {name: value for name, value in (TINY | flags).items() if name not in ("backend", "threads")}
    config = TrainConfig(**flags)
    model = GPT(config.model_config(11), Device(device, config.dtype, config.seed))
    return Trainer(model, config, TOKENS[:500], TOKENS[500:], threads)


def values(run):
    return np.concatenate([value.reshape(-1) for value in run.model.state_dict().values()])


def test_a_batch_is_a_function_of_seed_and_step():
    x, y = trainer().batch(3)
    again = trainer(lr=1.0, dropout=0.0).batch(3)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert x.shape == (8, 8)
    assert not np.array_equal(x, trainer().batch(4)[0]) and not np.array_equal(x, trainer(seed=1).batch(3)[0])


@pytest.mark.parametrize("flags", [{}, {"grad_accum": 2}, {"threads": 2}])
def test_the_next_batch_is_fetched_while_a_step_is_computed_but_none_after_the_last(flags):
    run = trainer(flags.pop("threads", 1), max_steps=4, **flags)
    fetched, fetch, step = [], run.prefetcher.fetch, run.optimizer.step
    run.prefetcher.fetch = lambda number: fetched.append(number) or fetch(number)
    run.optimizer.step = lambda scale: fetched.append("update") or step(scale)
    for _ in range(4):
        run.train_step()
    assert fetched == [0, 1, "update", 2, "update", 3, "update", "update"]


def test_accumulated_batches_are_one_larger_batch():
    one, many = (
        trainer(batch_size=8, grad_accum=1, dtype="float64"),
        trainer(batch_size=2, grad_accum=4, dtype="float64"),
    )
    for _ in range(3):
        a, b = one.train_step(), many.train_step()
        assert a.loss == pytest.approx(b.loss, rel=1e-12) and a.grad_norm == pytest.approx(b.grad_norm, rel=1e-12)
    np.testing.assert_allclose(values(one), values(many), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_the_masks_nor_the_numbers_beyond_rounding(threads):
    one, several = trainer(1, dtype="float64"), trainer(threads, dtype="float64")
    for _ in range(3):
        one.train_step()
        several.train_step()
    np.testing.assert_allclose(values(one), values(several), rtol=1e-9, atol=1e-13)


forking = pytest.mark.skipif(not may_fork(), reason="this system does not fork")


def with_threads(monkeypatch, threads, **flags):
    """A trainer whose work is shared by threads of this process."""
    with monkeypatch.context() as patch:
        patch.setattr("gpt.training.step.may_fork", lambda: False)
        return trainer(threads, **flags)


@forking
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_processes_share_the_work_where_there_can_be_any_and_the_bits_are_the_same(monkeypatch, dtype):
    threads, processes = with_threads(monkeypatch, 2, dtype=dtype), trainer(2, dtype=dtype)
    assert processes.parallel.processes and not threads.parallel.processes and not trainer(1).parallel.processes
    for _ in range(3):
        assert threads.train_step() == processes.train_step()
        assert threads.evaluate() == processes.evaluate()
        np.testing.assert_array_equal(values(threads), values(processes))
    assert len(processes.parallel.workers) == 1 and "workers" not in vars(threads.parallel)


def test_ranks_of_mpi_are_not_forked(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", object())
    assert not trainer(2).parallel.processes


@forking
def test_a_watched_step_is_done_by_threads():
    run, watched = trainer(2), trainer(2, detect_anomaly=True)
    for each in (run, watched):
        each.train_step()
        each.evaluate()
    assert run.parallel.processes and not watched.parallel.processes
    np.testing.assert_array_equal(values(run), values(watched))
    run.model.h[0].mlp.c_fc.weight.value[0, 0] = math.nan
    assert origin(run, 0).startswith("it comes from h.0.mlp.c_fc, forward: the parameter weight holds 1 NaN")


@forking
def test_a_lost_worker_is_an_error_of_the_system_and_changes_nothing():
    run = trainer(2)
    run.train_step()
    before, steps = values(run), run.step
    kill_a_worker(run)
    for do in (run.train_step, run.train_step, run.evaluate):
        with pytest.raises(WorkerLost, match="has ended; was it killed") as caught:
            do()
    assert isinstance(caught.value, OSError)
    assert run.step == steps and run.optimizer.steps == steps
    np.testing.assert_array_equal(values(run), before)


@forking
def test_workers_end_with_their_trainer():
    run = trainer(2)
    run.train_step()
    pid = worker_pid(run.parallel.workers[0])
    os.kill(pid, 0)
    del run
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_same_step_twice_gives_the_same_bits():
    one, two = trainer(2), trainer(2)
    for _ in range(3):
        one.train_step()
        two.train_step()
    np.testing.assert_array_equal(values(one), values(two))


def test_rates_follow_the_schedule():
    run = trainer(max_steps=4, warmup_steps=2, lr=1.0, min_lr=0.25)
    rates = [run.train_step().lr for _ in range(4)]
    assert rates[0] > 0 and max(rates) == 1.0 and rates[-1] == 0.25


def test_muons_rate_follows_the_schedule_of_lr():
    run = trainer(optimizer="muon", lr=1e-2, muon_lr=0.5, max_steps=4, warmup_steps=2, schedule="wsd", decay_share=0.5)
    rates = []
    for _ in range(4):
        rates.append((run.train_step().lr, run.optimizer.muon_lr))
    np.testing.assert_allclose(rates, [(0.005, 0.25), (0.01, 0.5), (0.005, 0.25), (0.0, 0.0)])


def test_a_constant_schedule_is_flat_after_its_warmup():
    run = trainer(schedule="constant", max_steps=6, warmup_steps=2, lr=1e-2)
    assert [run.lr_at(step) for step in range(6)] == [0.005, *[0.01] * 5]


def test_gradients_are_clipped_to_the_limit():
    free, bound = trainer(grad_clip=0.0, dtype="float64"), trainer(grad_clip=1e-3, dtype="float64")
    norm = free.train_step().grad_norm
    assert bound.train_step().grad_norm == norm > 1e-3  # told as it was before
    scale = 1e-3 / (norm + 1e-6)
    for name, moment in bound.optimizer.state_dict().items():
        if name.startswith("exp_avg."):
            np.testing.assert_allclose(moment, free.optimizer.state_dict()[name] * scale, rtol=1e-12)


def test_gradient_norms_of_the_parts_add_up():
    run = trainer(n_layer=2)
    norm = run.train_step().grad_norm
    parts = run.grad_norms()
    assert list(parts) == ["wte", "wpe", "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp", "ln_f", "lm_head"]
    assert math.sqrt(sum(part**2 for part in parts.values())) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("wte.weight", "wte"),
        ("h.3.ln_1.bias", "h.3.attn"),
        ("h.0.ln_2.weight", "h.0.mlp"),
        ("h.1.mlp.c_fc.bias", "h.1.mlp"),
    ],
)
def test_parameters_belong_to_parts(name, layer):
    assert layer_of(name) == layer


def test_evaluating_changes_nothing_and_gives_the_same_every_time():
    run = trainer()
    untrained = run.evaluate()  # over one batch
    assert run.evaluate() == untrained
    run.train_step()
    first = run.evaluate()
    assert run.evaluate() == first and run.model.training
    starts = batch_starts(100, 4, 8, run.config.seed, EVAL_VAL, 0)
    run.model.eval()
    expected = [float(run.model(*get_batch(run.val, batch_starts(100, 4, 8, 0, EVAL_VAL, n), 8))[1]) for n in range(2)]
    run.model.train()
    assert len(starts) == 4 and first["val_loss"] == pytest.approx(np.mean(expected), rel=1e-6)
    undisturbed, evaluated = trainer(), trainer()
    for _ in range(3):
        undisturbed.train_step()
        evaluated.train_step()
        evaluated.evaluate()
    np.testing.assert_array_equal(values(undisturbed), values(evaluated))


def test_the_whole_loss_counts_every_token_once():
    run = trainer(dtype="float64", dropout=0.0)
    run.model.eval()
    x, y = TOKENS[500:-1], TOKENS[501:]
    total = sum(
        float(run.model(x[None, i : i + 8], y[None, i : i + 8])[1]) * len(y[i : i + 8]) for i in range(0, 99, 8)
    )
    assert run.whole_loss(run.val) == pytest.approx(total / 99, rel=1e-12)


def test_a_state_goes_back_and_a_step_after_it_is_the_same():
    straight, other = trainer(), trainer(seed=0)
    for _ in range(2):
        straight.train_step()
    model, optimizer = straight.state_dict()
    other.load_state_dict({n: v.copy() for n, v in model.items()}, {n: np.copy(v) for n, v in optimizer.items()}, 2)
    straight.train_step()
    other.train_step()
    np.testing.assert_array_equal(values(straight), values(other))


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_a_gpu_skips_the_update_that_is_not_finite_and_says_so_when_asked(gpu_xp):
    run = trainer(device=gpu_xp)
    gradients = run.gradients

    def spoilt(x, y, step):
        loss = gradients(x, y, step)
        if step == 2:
            run.model.ln_f.bias.grad[...] = math.inf
        return loss

    run.gradients = spoilt
    run.train_step()
    run.train_step()
    run.check()
    before, moments = values(run), run.optimizer.state_dict()
    for _ in range(3):
        run.train_step()
    np.testing.assert_array_equal(values(run), before)
    for name, moment in run.optimizer.state_dict().items():
        assert name == "step" or np.array_equal(moment, moments[name])
    for ask in (run.evaluate, run.state_dict, run.check):
        with pytest.raises(NotFinite, match="norm of the gradient is inf") as caught:
            ask()
        assert caught.value.step == 2
    run.gradients = gradients
    run.model.ln_f.weight.value[0] = math.nan
    assert origin(run, 2).startswith("it comes from ln_f, forward: the parameter weight holds 1 NaN among 8 numbers")


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_a_gpu_computes_a_batch_at_once(gpu_xp):
    """However large: in parts every kernel would be launched, and every weight rounded, once a part."""
    assert trainer(device=gpu_xp, batch_size=7).parallel.chunk == 7
    assert plan_threads(1, batch_size=7, positions=1024, channels=768, parameters=1).chunk == 1  # as suits a CPU


def test_a_gpu_is_watched_too(gpu_xp):
    run = trainer(device=gpu_xp, detect_anomaly=True)
    run.train_step()
    run.model.h[0].mlp.c_fc.weight.value[...] = 3e38
    run.model.h[0].ln_2.bias.value[...] = 1e4
    with pytest.raises(ArithmeticError, match=r"^h\.0\.mlp\.c_fc, forward: the Linear makes"):
        run.train_step()
