"""Forked processes: what they are asked for, what they do not hear, and how they end."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from nanograd.parallel import processes
from nanograd.parallel.processes import WorkerLost, WorkerProcess, call_all, shared_empty
from tests.support import ROOT

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


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def worker():
    worker = WorkerProcess([])
    yield worker
    worker.end()


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


def test_a_helper_is_another_process_and_answers(worker):
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


def test_each_helper_has_the_thing_to_itself():
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


# How one is lost


def lost(worker, function, *args):
    with pytest.raises(WorkerLost, match=r"^a process that shares the work has ended; was it killed, or short of mem"):
        call(worker, function, *args)


@pytest.mark.parametrize("end", [something_unpicklable, leave])
def test_a_helper_that_cannot_answer_is_lost(worker, end):
    pid = call(worker, pid_of)
    lost(worker, end)
    assert has_ended(pid)
    lost(worker, pid_of)


def test_a_killed_helper_is_lost(worker):
    pid = call(worker, pid_of)
    os.kill(pid, signal.SIGKILL)
    lost(worker, pid_of)
    assert has_ended(pid)
    lost(worker, pid_of)
    with pytest.raises(WorkerLost) as caught:
        worker.submit(append, 1)
    assert isinstance(caught.value, OSError) and caught.value.__suppress_context__, "one error, not a story of two"


def test_a_helper_that_is_killed_at_work_is_lost(worker):
    pid = call(worker, pid_of)
    worker.submit(send_itself, signal.SIGKILL)
    with pytest.raises(WorkerLost):
        worker.result()
    assert has_ended(pid)


def test_signals_that_ask_to_stop_do_not_reach_it(worker):
    assert call(worker, send_itself, signal.SIGINT, signal.SIGTERM) == "still here"
    pid = call(worker, pid_of)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert call(worker, pid_of) == pid


# How one ends


def test_it_ends_when_it_is_told_to_and_leaves_no_zombie(worker):
    pid = call(worker, pid_of)
    assert not has_ended(pid)
    worker.end()
    assert has_ended(pid)
    worker.end()


def test_it_ends_when_nobody_holds_it():
    worker = WorkerProcess(None)
    pid = call(worker, pid_of)
    del worker
    gc.collect()
    assert has_ended(pid)


def test_it_ends_in_good_order(worker):
    connection, _, pid = worker.end.detach()[2]
    connection.close()
    assert os.waitpid(pid, 0) == (pid, 0)


def test_one_ends_while_another_that_was_forked_later_goes_on():
    """The later one was born with the end of the pipe that the earlier one listens to."""
    first, second = WorkerProcess(1), WorkerProcess(2)
    pid = call(first, pid_of)
    first.end()
    assert has_ended(pid)
    assert call(second, add, 1) == 3


def test_it_is_ended_in_the_middle_of_its_work(worker):
    pid = call(worker, pid_of)
    worker.submit(work_for_ever)
    worker.end()
    assert has_ended(pid)


def work_for_ever(thing):
    time.sleep(10**6)


def test_another_fork_does_not_end_it(worker):
    """It has a copy of everything, also of what ends a worker with its holder."""
    pid = os.fork()
    if not pid:
        worker.end()
        os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)
    assert call(worker, pid_of) != pid


def test_somebody_else_may_have_waited_for_it(worker):
    pid = call(worker, pid_of)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    worker.end()
    lost(worker, pid_of)


def test_it_does_not_look_for_garbage_in_what_it_inherited(worker):
    assert call(worker, collect_garbage)


def test_it_tidies_up_nothing_of_the_other_process(tmp_path, capfd):
    """Text that waits to be written would come twice, and files of the other process would vanish."""
    script(
        tmp_path,
        """
        import atexit
        print("once")  # a pipe: it waits to be written
        atexit.register(lambda: print("tidied up"))
        worker = WorkerProcess(None)
        worker.submit(pid_of)
        worker.result()
        worker.end()
        """,
    ).wait(PATIENCE)
    assert capfd.readouterr() == ("once\ntidied up\n", "")


def script(folder, text, **options):
    """Start a Python that runs `text`; `WorkerProcess` and the functions of this file are there."""
    imports = f"import os, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
    imports += "from nanograd.parallel.processes import WorkerProcess\nfrom tests.parallel.test_processes import *\n"
    path = Path(folder) / "script.py"
    path.write_text(imports + textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen([sys.executable, str(path)], text=True, **options)


def work_for_long(thing):
    time.sleep(3)


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_the_other_process_is_killed(tmp_path, busy):
    ending = "worker.submit(work_for_long)" if busy else ""
    program = f"""
        first, second = WorkerProcess(None), WorkerProcess(None)
        for worker in (first, second):
            worker.submit(pid_of)
            print(worker.result(), flush=True)
            {ending}
        print("ready", flush=True)
        time.sleep(1000)
        """
    with script(tmp_path, program, stdout=subprocess.PIPE) as running:
        pids = [int(running.stdout.readline()) for _ in range(2)]
        assert running.stdout.readline() == "ready\n" and not any(map(is_gone, pids))
        running.kill()
        running.wait()
        wait_for(lambda: all(map(is_gone, pids)))


def test_it_ends_although_a_fork_of_the_other_process_lives_on(tmp_path):
    """Which has a copy of the end of the pipe."""
    program = """
        worker = WorkerProcess(None)
        worker.submit(pid_of)
        print(worker.result(), flush=True)
        other = os.fork()
        if other:
            print(other, flush=True)
        time.sleep(1000)
        """
    with script(tmp_path, program, stdout=subprocess.PIPE) as running:
        pid, other = (int(running.stdout.readline()) for _ in range(2))
        running.kill()
        running.wait()
        try:
            wait_for(lambda: is_gone(pid))
            assert not is_gone(other), "or this test proves nothing"
        finally:
            os.kill(other, signal.SIGKILL)


def is_gone(pid):
    """Has it ended? Whoever adopts it may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_lock_goes_with_the_process_that_took_it_however_busy_its_helper(tmp_path):
    program = """
        import fcntl
        file = open("lock", "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        worker = WorkerProcess(None)
        worker.submit(pid_of)
        print(worker.result(), flush=True)
        worker.submit(work_for_long)
        print("asked", flush=True)
        time.sleep(1000)
        """
    with script(tmp_path, program, stdout=subprocess.PIPE, cwd=tmp_path) as running:
        pid = int(running.stdout.readline())
        assert running.stdout.readline() == "asked\n"
        with open(tmp_path / "lock", "w", encoding="utf-8") as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            running.kill()
            running.wait()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert not is_gone(pid), "or this test proves nothing"
        os.kill(pid, signal.SIGKILL)


def test_a_process_ends_by_itself_with_helpers_that_were_not_ended(tmp_path):
    done = script(tmp_path, "workers = [WorkerProcess(None) for _ in range(3)]\nworkers[0].submit(pid_of)\n")
    assert done.wait(PATIENCE) == 0


@pytest.mark.parametrize("ending", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_it_ends_with_a_process_that_had_no_standard_input(tmp_path, ending):
    """The first file that is opened then has the number 0."""
    running = script(
        tmp_path,
        f"""
        import signal
        worker = WorkerProcess(None)
        worker.submit(pid_of)
        print(worker.result(), flush=True)
        worker.submit(open_files)
        print(worker.result()[0], flush=True)
        {ending}
        """,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(0),
    )
    pid, first_file = (int(running.stdout.readline()) for _ in range(2))
    try:
        assert first_file == 1
        running.wait(PATIENCE)
        wait_for(lambda: is_gone(pid))
    finally:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
        running.communicate(timeout=PATIENCE)


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
    assert call_all(pool, note_and_fail, log, [(2,), (1,), (0,)]) == [2, 1, 0], "nobody's answer is left over"


@pytest.mark.parametrize("failing", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_the_first_exception_is_raised_when_all_are_done(pool, log, failing):
    tasks = [(i, ValueError(f"task {i}") if i in failing else None) for i in range(3)]
    with pytest.raises(ValueError, match=f"^task {failing[0]}\n|^task {failing[0]}$"):
        call_all(pool, note_and_fail, log, tasks)
    assert log.all()
    assert call_all(pool, note_and_fail, log, [(2,), (1,), (0,)]) == [2, 1, 0], "nobody's answer is left over"


@pytest.mark.parametrize("which", [0, 1])
def test_a_helper_lost_among_others_is_told(pool, log, which):
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
    [(None, "pthreads", True), ("mpi4py", "pthreads", False), (None, "openmp", False), (None, None, True)],
)
def test_nothing_is_forked_beside_what_does_not_survive_it(monkeypatch, loaded, layer, may):
    infos = [{"user_api": "openmp"}, {"user_api": "blas", "threading_layer": layer}]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: infos)
    monkeypatch.delitem(sys.modules, "mpi4py", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, loaded, object())
    assert processes.may_fork() == may
    monkeypatch.setattr(processes, "CAN_FORK", False)
    assert not processes.may_fork()
