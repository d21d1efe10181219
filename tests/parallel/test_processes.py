"""Forked processes: what they are asked for, what they do not hear, and how they end."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nanograd.parallel import processes
from nanograd.parallel.processes import WorkerLost, WorkerProcess, call_all, shared_empty

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this system does not fork")
PATIENCE = 60  # seconds that a slow machine may take for what takes a moment


# What workers are told to do: they look these up by name.


def pid_of(thing):
    return os.getpid()


def append(thing, x):
    thing.append(x)


def contents(thing):
    return list(thing)


def add(thing, x, y=0):
    return thing + x + y


def fail(thing, error):
    raise error


def something_unpicklable(thing):
    return lambda: thing


def leave(thing):
    sys.exit(3)


def open_files(thing):
    return sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}"))


def doubled(array):
    array *= 2
    return float(array.sum())


def send_itself(thing, *numbers):
    for number in numbers:
        os.kill(os.getpid(), number)
    return "still here"


def collect_garbage(thing):
    return gc.get_freeze_count() > 0


def note_and_fail(log, at, error=None):
    log[at] = 1
    if error is not None:
        raise error
    return at


def call(worker, function, *args):
    worker.submit(function, *args)
    return worker.result()


def has_ended(pid):
    """Is there no such process, not even a zombie?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def is_gone(pid):
    """Has it ended? Whoever adopts it may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_linux_forks():
    assert processes.CAN_FORK


# Shared memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("size", [0, 1, 5, 5000])
def test_shared_memory_is_an_array_like_any_other(size, dtype):
    array = shared_empty(size, dtype)
    assert array.shape == (size,) and array.dtype == dtype and array.flags.writeable
    array[...] = np.arange(size)
    np.testing.assert_array_equal(array, np.arange(size))


def test_what_either_process_writes_the_other_sees():
    array, private = shared_empty(3, np.float64), np.ones(3)
    array[...] = 1
    sharing, holding = WorkerProcess(array), WorkerProcess(private)
    array += 4
    private += 4
    assert call(sharing, doubled) == 30 and call(holding, doubled) == 6, "what is not shared is as at the fork"
    np.testing.assert_array_equal(array, 10)
    np.testing.assert_array_equal(private, 5)
    sharing.end()
    holding.end()
    np.testing.assert_array_equal(array, 10)


# Questions and answers


def test_a_worker_is_another_process_and_answers(worker):
    assert call(worker, pid_of) != os.getpid()
    worker = WorkerProcess(10)
    assert call(worker, add, 1) == 11 and call(worker, add, 1, 2) == 13


def test_nothing_of_the_other_process_is_open_in_it(tmp_path):
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        worker, other = WorkerProcess(None), WorkerProcess(None)
        assert file.fileno() in open_files(None)
        for each in (worker, other):
            *standard, pipe = call(each, open_files)
            assert {1, 2} <= set(standard) <= {0, 1, 2} and pipe > 2


def test_it_does_what_it_is_asked_in_that_order_and_the_last_answer_counts(worker):
    worker.submit(append, "a")
    worker.submit(append, "b")
    worker.submit(contents)
    assert worker.result() == ["a", "b"]
    assert call(worker, append, "c") is None
    assert call(worker, contents) == ["a", "b", "c"]


def test_each_worker_has_the_thing_to_itself():
    thing = []
    one, two = WorkerProcess(thing), WorkerProcess(thing)
    one.submit(append, 1)
    two.submit(append, 2)
    assert (call(one, contents), call(two, contents), thing) == ([1], [2], [])


@pytest.mark.parametrize(
    "error", [ValueError("a text, and more"), KeyError("k"), OSError(28, "no space"), EOFError("mine"), MemoryError()]
)
def test_an_exception_comes_back_as_it_is_and_the_work_goes_on(worker, error):
    with pytest.raises(type(error)) as caught:
        call(worker, fail, error)
    assert type(caught.value) is type(error) and caught.value.args == error.args
    assert "in fail\n" in caught.value.__notes__[0], "its trace"
    worker.submit(append, 1)
    assert call(worker, contents) == [1]


# All at once


@pytest.fixture
def log():
    """Who has worked: an array that the workers share."""
    log = shared_empty(3, np.int64)
    log[...] = 0
    return log


@pytest.fixture
def pool(log):
    workers = [WorkerProcess(log) for _ in range(2)]
    yield workers
    for worker in workers:
        worker.end()


def who(thing, _):
    return os.getpid()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks_and_the_first_is_ours(pool, log, n):
    assert call_all(pool, note_and_fail, log, [(i,) for i in range(n)]) == list(range(n))
    assert log.tolist() == [1] * n + [0] * (3 - n)
    pids = call_all(pool, who, log, [(i,) for i in range(n)])
    assert pids == [os.getpid(), *(call(worker, pid_of) for worker in pool)][:n]


def test_the_first_task_is_done_with_our_thing_and_the_others_with_theirs():
    workers = [WorkerProcess(10), WorkerProcess(20)]
    assert call_all(workers, add, 1, [(100,), (200, 5), (300,)]) == [101, 215, 320]


def test_a_task_that_nobody_is_there_for_is_refused(pool, log):
    with pytest.raises(ValueError, match="longer"):
        call_all(pool[:1], note_and_fail, log, [(0,), (1,), (2,)])


def test_meanwhile_comes_after_our_task_and_before_their_answers(pool, log):
    seen = []

    def note():
        seen.append((log[0], pool[0]._connection.poll(PATIENCE)))

    results = call_all(pool, note_and_fail, log, [(0,), (1,)], note)
    assert results == [0, 1] and seen == [(1, True)], "the answer is still to be read"


def test_what_fails_meanwhile_is_raised_when_all_are_done(pool, log):
    with pytest.raises(ZeroDivisionError):
        call_all(pool, note_and_fail, log, [(0,), (1,), (2,)], lambda: 1 // 0)
    assert log.all()
    assert call_all(pool, note_and_fail, log, [(2,), (1,), (0,)]) == [2, 1, 0], "no answer is left over"


@pytest.mark.parametrize("failing", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_the_first_exception_is_raised_when_all_are_done(pool, log, failing):
    tasks = [(i, ValueError(f"task {i}") if i in failing else None) for i in range(3)]
    with pytest.raises(ValueError, match=f"^task {failing[0]}\n|^task {failing[0]}$"):
        call_all(pool, note_and_fail, log, tasks)
    assert log.all()
    assert call_all(pool, note_and_fail, log, [(2,), (1,), (0,)]) == [2, 1, 0], "no answer is left over"


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_lost_among_others_is_told(pool, log, which):
    os.kill(call(pool[which], pid_of), signal.SIGKILL)
    with pytest.raises(WorkerLost):
        call_all(pool, note_and_fail, log, [(0,), (1,), (2,)])


def test_after_a_loss_no_old_answer_is_taken_for_a_new_one(pool, log):
    pid = call(pool[1], pid_of)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))
    with pytest.raises(WorkerLost):
        call_all(pool, note_and_fail, log, [(0,), (1,), (2,)])
    assert call_all(pool, note_and_fail, log, [(0,), (2,)]) == [0, 2]


def test_an_exception_that_cannot_be_made_again_is_told_of(worker):
    worker.submit(fail_with_two_words, "one", "two")
    with pytest.raises(Exception, match="one and two"):
        worker.result()


class TwoWords(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_with_two_words(thing, one, two):
    raise TwoWords(one, two)


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next(worker):
    worker.submit(fail, ValueError("old"))
    worker.submit(fail, ValueError("older than the next"))
    assert call(worker, pid_of) != os.getpid()


@pytest.mark.parametrize(
    ("loaded", "layer", "may"),
    [
        *((None, "pthreads", True), (None, None, True), (None, "openmp", False)),
        *(("mpi4py", "pthreads", False), ("ipykernel", "pthreads", False)),
    ],
)
def test_nothing_is_forked_beside_what_does_not_survive_it(monkeypatch, loaded, layer, may):
    infos = [{"user_api": "openmp"}, {"user_api": "blas", "threading_layer": layer}]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: infos)
    for module in ("mpi4py", "ipykernel"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, loaded, object())
    assert processes.may_fork() == may
    monkeypatch.setattr(processes, "CAN_FORK", False)
    assert not processes.may_fork()
