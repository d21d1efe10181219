"""DataParallel over processes; each test does the same with threads, which test_data_parallel.py checks."""

import functools
import math

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd import AdamW, Device, Parameter, clip_grad_norm
from nanograd.anomaly import Anomaly
from nanograd.device.threads import ThreadPool
from nanograd.optim.arena import arenas_of
from nanograd.parallel.data_parallel import DataParallel
from nanograd.parallel.processes import shared_empty
from tests.parallel.test_data_parallel import LATER, batch, forking, gpt
from tests.support.marks import slow

# Processes. Each test does the same with threads, which are checked above.


def both(dtype="float64", size=3, chunk=2, **settings):
    """A pool of threads and one of processes, each with a model of its own."""
    return [DataParallel(gpt(dtype, **settings), ThreadPool(size), chunk, processes) for processes in (False, True)]


def accumulate(trainer, parts, step=0):
    """Losses and gradients of some parts of the batch, of one step."""
    idx, targets = batch()
    trainer.zero_grad()
    losses = [
        float(trainer.forward_backward(idx[p], targets[p], idx.size, step=step, first=10 + p.start)) for p in parts
    ]
    trainer.reduce()
    return losses, {name: p.grad.copy() for name, p in trainer.model.named_parameters()}


def assert_the_same(one, other):
    (losses, gradients), (other_losses, others) = one, other
    assert losses == other_losses
    for name, gradient in gradients.items():
        assert gradient.any() and gradient.tobytes() == others[name].tobytes(), name


@forking
@pytest.mark.parametrize("size", [1, 2])
def test_something_else_is_done_meanwhile(size):
    for trainer in both(size=size):
        idx, targets = batch()
        trainer.zero_grad()
        own = trainer.model.wpe.weight
        seen = []
        note = functools.partial(lambda own, seen: seen.append(own.grad.any()), own, seen)
        trainer.forward_backward(idx, targets, idx.size, meanwhile=note)
        assert seen == [True], "once, when the caller's own part is done"


@forking
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [slow(1), 3, slow(100)])
def test_processes_give_the_same_bits_as_threads(dtype, size, chunk):
    threads, processes = both(dtype, size, chunk)
    assert not threads.processes and processes.processes == (size > 1)
    parts = [slice(0, 7)]
    for step in range(3):  # the masks are others in each
        found = [accumulate(trainer, parts, step) for trainer in (threads, processes)]
        assert_the_same(*found)
    assert ("workers" in vars(processes)) == (size > 1)


@forking
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_processes_compute_later_blocks_to_the_same_bits(dtype):
    threads, processes = both(dtype, 3, 2, **LATER)
    for step in range(2):
        assert_the_same(*[accumulate(trainer, [slice(0, 7)], step) for trainer in (threads, processes)])


@forking
@pytest.mark.parametrize(
    "parts",
    [
        [slice(0, 3), slice(3, 7)],
        [slice(0, 6), slice(6, 7)],  # a sample for the caller alone
        [slice(0, 1), slice(1, 7)],  # a worker that comes later has nothing to add to
        [slice(0, 2), slice(2, 4), slice(4, 7)],
        [slice(0, 1)],
        [slice(0, 2)],
    ],
)
def test_processes_add_up_the_same_over_parts_of_a_batch(parts):
    """Twice, so that the second step finds gradients of the first, also where fewer work than did before."""
    threads, processes = both()
    for chosen in (parts, parts[:1], [slice(0, 7)], parts):
        assert_the_same(accumulate(threads, chosen), accumulate(processes, chosen))


@forking
def test_processes_work_with_the_parameters_as_they_are_now():
    threads, processes = both()
    states = [trainer.model.state_dict() for trainer in (threads, processes)]
    idx, targets = batch()
    whole = [slice(0, 7)]
    assert_the_same(accumulate(threads, whole), accumulate(processes, whole))
    for trainer, state in zip((threads, processes), states, strict=True):
        trainer.model.load_state_dict({name: 1.5 * value for name, value in state.items()})
    assert_the_same(accumulate(threads, whole), accumulate(processes, whole))
    assert threads.loss(idx, targets) == processes.loss(idx, targets) != pytest.approx(math.log(7), rel=1e-3)
    for trainer, state in zip((threads, processes), states, strict=True):
        trainer.model.load_state_dict(state)
    assert_the_same(accumulate(threads, whole), accumulate(processes, whole))


@forking
def test_processes_train_to_the_same_parameters():
    states = []
    for trainer in both("float32"):
        optimizer = AdamW(trainer.model, lr=1e-2, pool=trainer.pool)
        for step in range(4):
            accumulate(trainer, [slice(0, 4), slice(4, 7)], step)
            trainer.loss(*batch())  # evaluating in between changes nothing
            clip_grad_norm(trainer.model, 1.0, trainer.pool)
            optimizer.step()
        states.append(trainer.model.state_dict())
    start = gpt("float32").state_dict()
    for name, value in states[0].items():
        assert value.tobytes() == states[1][name].tobytes() != start[name].tobytes(), name


@forking
def test_processes_evaluate_without_masks_and_train_with_them_again():
    threads, processes = both(dropout=0.5)
    whole, (idx, targets) = [slice(0, 7)], batch()
    before = accumulate(processes, whole)
    model = gpt(dropout=0.5).eval()
    assert processes.loss(idx, targets) == pytest.approx(float(model(idx, targets)[1]), rel=1e-13)
    assert processes.loss(idx[:1], targets[:1]) == threads.loss(idx[:1], targets[:1])
    assert_the_same(before, accumulate(processes, whole))


@forking
def test_parameters_and_gradients_move_into_shared_memory_once():
    trainer = DataParallel(gpt(), ThreadPool(3), 2, processes=True)
    model, values = trainer.model, gpt().state_dict()
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.value, values[name])
    arenas = arenas_of(model)
    assert all(arena.empty is shared_empty for replica in trainer.replicas for arena in arenas_of(replica))
    addresses = [p.value.ctypes.data for p in model.parameters()]
    other = DataParallel(model, ThreadPool(2), 2, processes=True)
    assert arenas_of(model) is arenas and [p.value.ctypes.data for p in model.parameters()] == addresses
    assert_the_same(accumulate(other, [slice(0, 7)]), accumulate(DataParallel(gpt(), ThreadPool(2), 2), [slice(0, 7)]))


@forking
def test_threads_need_no_shared_memory():
    assert all(arena.empty is not shared_empty for arena in arenas_of(DataParallel(gpt(), ThreadPool(3), 2).model))
    assert all(
        arena.empty is not shared_empty for arena in arenas_of(DataParallel(gpt(), ThreadPool(1), 2, True).model)
    )


def add_gradients_of(trainer, idx, targets):
    trainer.forward_backward(idx, targets, idx.size)


@pytest.mark.parametrize("fail", [add_gradients_of, DataParallel.loss])  # the latter left replicas in evaluation
@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=forking)])
@pytest.mark.parametrize("row", [0, 3, 6])
def test_an_error_in_any_part_is_raised_and_the_next_step_is_right(processes, row, fail):
    trainer = DataParallel(gpt(), ThreadPool(3), 2, processes)
    idx, targets = batch()
    expected = accumulate(trainer, [slice(0, 7)])
    wrong = idx.copy()
    wrong[row, 2] = 7
    with pytest.raises(ValueError, match=r"token id 7 is outside \[0, 7\)"):
        fail(trainer, wrong, targets)
    assert_the_same(expected, accumulate(trainer, [slice(0, 7)]))


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=forking)])
def test_a_step_that_is_interrupted_leaves_nothing_to_the_next(monkeypatch, processes):
    """Ctrl-C in a notebook, whose user goes on with the same model."""
    trainer, whole = DataParallel(gpt(), ThreadPool(3), 2, processes), [slice(0, 7)]
    expected = accumulate(trainer, whole)

    def interrupted(*inputs, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.model, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            accumulate(trainer, whole, step=1)
    assert_the_same(expected, accumulate(trainer, whole))


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=forking)])
def test_an_optimiser_may_come_before_the_workers(processes):
    model = gpt()
    optimizer = AdamW(model, lr=1e-2)
    before = model.state_dict()
    accumulate(DataParallel(model, ThreadPool(2), 2, processes), [slice(0, 7)])
    optimizer.step()
    assert not any(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=forking)])
def test_watching_finds_what_a_parameter_has_and_then_the_work_goes_on(processes):
    trainer, whole = DataParallel(gpt(), ThreadPool(2), 2, processes), [slice(0, 7)]
    expected = accumulate(trainer, whole)
    weight = trainer.model.h[1].mlp.c_fc.weight.value
    kept, weight[0, 0] = weight[0, 0], math.nan
    with (
        pytest.raises(Anomaly, match=r"^h\.1\.mlp\.c_fc, forward: the parameter weight holds 1 NaN among"),
        trainer.watched(),
    ):
        accumulate(trainer, whole)
    weight[0, 0] = kept
    assert trainer.processes == processes
    assert_the_same(expected, accumulate(trainer, whole))
    with trainer.watched():
        assert not trainer.processes
        assert_the_same(expected, accumulate(trainer, whole))
    assert_the_same(expected, accumulate(trainer, whole))


def test_every_replica_is_watched():
    trainer = DataParallel(gpt(), ThreadPool(3), 2)
    trainer.replicas[2].h[0].ln_1.forward = lambda x: x * math.nan
    with pytest.raises(Anomaly, match=r"^h\.0\.ln_1, forward: the LayerNorm makes"), trainer.watched():
        accumulate(trainer, [slice(0, 7)])


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=forking)])
def test_the_gradient_of_a_parameter_that_nothing_uses_is_zero_whatever_lay_there(processes):
    model = gpt()
    model.unused = Parameter(np.ones((2, 3)))
    trainer = DataParallel(model, ThreadPool(2), 2, processes)
    for _ in range(2):
        accumulate(trainer, [slice(0, 7)])
        assert not model.unused.grad.any()
        for replica in trainer.replicas:
            replica.unused.grad[...] = 5


@forking
def test_no_process_is_made_for_a_sample_alone():
    threads, processes = both()
    assert_the_same(accumulate(threads, [slice(0, 1)]), accumulate(processes, [slice(0, 1)]))
    idx, targets = batch(1)
    assert threads.loss(idx, targets) == processes.loss(idx, targets)
    assert "workers" not in vars(processes)


@forking
def test_where_no_process_can_be_made_threads_do_the_same(monkeypatch):
    threads, processes = both()

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("nanograd.parallel.processes.os.fork", fork)
    with pytest.warns(UserWarning, match=r"no process can be made \(Resource temporarily unavailable\): threads share"):
        found = accumulate(processes, [slice(0, 7)])
    assert_the_same(accumulate(threads, [slice(0, 7)]), found)
    idx, targets = batch()
    assert threads.loss(idx, targets) == processes.loss(idx, targets)
    assert not processes.workers


def test_a_gpu_is_not_shared_by_processes(gpu_xp):
    model = GPT(GPTConfig(vocab_size=7, block_size=5, n_layer=1, n_head=2, n_embd=8), Device(gpu_xp))
    assert not DataParallel(model, ThreadPool(2), 2, processes=True).processes


@forking
@pytest.mark.parametrize("whole_first", [False, True])
def test_gradients_that_were_filled_in_part_are_added_to(whole_first):
    idx, targets = batch()
    found = []
    for trainer in both():
        if whole_first:
            accumulate(trainer, [slice(0, 7)])
        trainer.zero_grad()
        for replica in trainer.replicas:
            replica.ln_f.bias.grad += 0.25
        trainer.forward_backward(idx, targets, idx.size)
        trainer.reduce()
        found.append({name: p.grad.copy() for name, p in trainer.model.named_parameters()})
    assert abs(found[0]["ln_f.bias"]).min() > 0.5
    for name, gradient in found[0].items():
        assert gradient.tobytes() == found[1][name].tobytes(), name
