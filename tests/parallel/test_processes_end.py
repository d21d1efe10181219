"""How a worker process is lost, and how it ends."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path

import pytest

from nanograd.parallel.processes import WorkerLost, WorkerProcess
from tests.parallel.test_processes import (
    PATIENCE,
    add,
    append,
    call,
    collect_garbage,
    has_ended,
    is_gone,
    leave,
    pid_of,
    send_itself,
    something_unpicklable,
    wait_for,
)
from tests.support import ROOT
from tests.support.marks import slow

# How one is lost


def lost(worker, function, *args):
    with pytest.raises(WorkerLost, match=r"^a process that shares the work has ended; was it killed, or short of mem"):
        call(worker, function, *args)


@pytest.mark.parametrize("end", [something_unpicklable, leave])
def test_a_worker_that_cannot_answer_is_lost(worker, end):
    pid = call(worker, pid_of)
    lost(worker, end)
    assert has_ended(pid)
    lost(worker, pid_of)


def test_a_killed_worker_is_lost(worker):
    pid = call(worker, pid_of)
    os.kill(pid, signal.SIGKILL)
    lost(worker, pid_of)
    assert has_ended(pid)
    lost(worker, pid_of)
    with pytest.raises(WorkerLost) as caught:
        worker.submit(append, 1)
    assert isinstance(caught.value, OSError) and caught.value.__suppress_context__, "one error, not a story of two"


def test_the_error_keeps_no_view_of_a_buffer(worker):
    """Python 3.13 prints "BufferError: Existing exports of data" where a BytesIO and its view are garbage together."""
    pid = call(worker, pid_of)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until the pipe is broken
    with pytest.raises(WorkerLost) as caught:
        worker.submit(append, 1)
    held = [
        value.obj
        for frame, _ in traceback.walk_tb(caught.value.__context__.__traceback__)
        for value in frame.f_locals.values()
        if isinstance(value, memoryview)
    ]
    assert all(isinstance(owner, bytes) for owner in held)
    caught.value.cycle = caught
    del caught, held
    gc.collect()  # as filterwarnings makes errors of what is printed, this fails where something is


def test_a_worker_that_is_killed_at_work_is_lost(worker):
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


@pytest.fixture
def unfrozen():
    """Undo what tests/conftest.py has done for all tests: the worker has to do it itself."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_it_does_not_look_for_garbage_in_what_it_inherited(unfrozen, worker):
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
    imports += "from nanograd.parallel.processes import WorkerProcess\n"
    imports += "from tests.parallel.test_processes import *\nfrom tests.parallel.test_processes_end import *\n"
    path = Path(folder) / "script.py"
    path.write_text(imports + textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen([sys.executable, str(path)], text=True, **options)


def work_for_a_while(thing):
    time.sleep(0.5)


@pytest.mark.parametrize("busy", [False, slow(True)])
def test_it_ends_when_the_other_process_is_killed(tmp_path, busy):
    last = "worker.submit(work_for_a_while)" if busy else ""
    program = f"""
        first, second = WorkerProcess(None), WorkerProcess(None)
        for worker in (first, second):
            worker.submit(pid_of)
            print(worker.result(), flush=True)
            {last}
        print("ready", flush=True)
        time.sleep(1000)
        """
    with script(tmp_path, program, stdout=subprocess.PIPE) as running:
        pids = [int(running.stdout.readline()) for _ in range(2)]
        assert running.stdout.readline() == "ready\n" and not any(map(is_gone, pids))
        running.kill()
        running.wait()
        wait_for(lambda: all(map(is_gone, pids)))


@pytest.mark.slow
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


def test_a_lock_goes_with_the_process_that_took_it_however_busy_its_worker(tmp_path):
    program = """
        import fcntl
        file = open("lock", "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        worker = WorkerProcess(None)
        worker.submit(pid_of)
        print(worker.result(), flush=True)
        worker.submit(work_for_ever)
        print("asked", flush=True)
        time.sleep(1000)
        """
    with script(tmp_path, program, stdout=subprocess.PIPE, cwd=tmp_path) as running:
        pid = int(running.stdout.readline())
        assert running.stdout.readline() == "asked\n"
        try:
            with open(tmp_path / "lock", "w", encoding="utf-8") as file:
                with pytest.raises(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                running.kill()
                running.wait()
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                assert not is_gone(pid), "or this test proves nothing"
        finally:
            running.kill()
            os.kill(pid, signal.SIGKILL)


def test_a_process_ends_by_itself_with_workers_that_were_not_ended(tmp_path):
    done = script(tmp_path, "workers = [WorkerProcess(None) for _ in range(3)]\nworkers[0].submit(pid_of)\n")
    assert done.wait(PATIENCE) == 0


@pytest.mark.parametrize("last", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_it_ends_with_a_process_that_had_no_standard_input(tmp_path, last):
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
        {last}
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
