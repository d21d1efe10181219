"""Worker processes that compute parts of one step.

Threads of one Python share its lock: with small arrays they wait for it as often as they compute. A forked process has
a lock of its own. It shares the memory that was allocated for sharing, here the parameters and gradients. Of everything
else it has a copy from the moment of the fork; a page of that takes memory only when it is written to.

A `WorkerProcess` runs the functions that are submitted to it, and ends when the process that forked it ends, however
that happens.
"""

import contextlib
import gc
import os
import signal
import sys
import traceback
import warnings
import weakref

import numpy as np

from nanograd.device.huge_pages import anonymous_memory

CAN_FORK = sys.platform == "linux"  # elsewhere a fork breaks the system's libraries, or does not exist
# Not heard by a worker: the other process may have to finish a step when they come.
UNHEARD = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if hasattr(signal, "SIGHUP") else set())
LOOK_UP = 1.0  # seconds after which an idle worker checks whether its parent is still there


class WorkerLost(ChildProcessError):
    """A worker ended, or was ended, before it answered."""


def may_fork() -> bool:
    """Does everything that was loaded survive a fork? MPI does not, nor does a BLAS on OpenMP's threads, nor the kernel
    of a notebook, whose threads may hold a lock at that moment."""
    from threadpoolctl import threadpool_info

    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    threaded = {"mpi4py", "ipykernel"} & sys.modules.keys()
    return CAN_FORK and not threaded and all(info.get("threading_layer") != "openmp" for info in blas)


def shared_empty(size: int, dtype) -> np.ndarray:  # -> (size,)
    """An array whose memory the processes forked from this one share with it. Raises MemoryError."""
    memory = anonymous_memory(max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype=dtype, count=size)


class WorkerProcess:
    """A process with a copy of `thing`, as it is now, that calls functions with it: `submit`, then `result`.

    Raises OSError where the system allows no further process.
    """

    def __init__(self, thing):
        from multiprocessing.connection import Pipe  # late: most of this library's users never fork

        ours, theirs = Pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)  # a signal's handler is not to run in the worker
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of locks that other threads hold; those of the BLAS are let go of at a fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                parent, pid = os.getpid(), os.fork()
            if not pid:
                _serve(theirs, thing, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._connection, self._asked = ours, 0
        self.end = weakref.finalize(self, _end, ours, parent, pid)

    def submit(self, function, *args) -> None:
        """Have it call function(thing, *args), a function that is found by its name."""
        from multiprocessing.reduction import ForkingPickler  # as the pipe does it

        self._asked += 1
        # A copy of the pickler's buffer: `send` itself hands out a view of it, which an error's trace keeps, and where
        # both are then collected together Python 3.13 prints a BufferError.
        message = bytes(ForkingPickler.dumps((self._asked, function, args)))
        with self._lost():
            self._connection.send_bytes(message)

    def result(self):
        """What came of the last question: the result, or the exception, raised here.

        Raises WorkerLost if there will be none.
        """
        number = None
        while number != self._asked:  # an older result that was never fetched, because of Ctrl-C, say
            with self._lost():
                number, fine, result = self._connection.recv()
        if fine:
            return result
        raise result

    @contextlib.contextmanager
    def _lost(self):
        try:
            yield
        except (EOFError, OSError):
            self.end()
            raise WorkerLost("a process that shares the work has ended; was it killed, or short of memory?") from None


def call_all(workers: list[WorkerProcess], function, thing, tasks: list[tuple], meanwhile=None) -> list:
    """[function(x, *task) for each task], side by side: x is `thing` here for the first, the workers' for the others.

    `meanwhile()` is called after this process's task, when others may still be at work. The first exception is raised
    when all are done.
    """

    def own():
        result = function(thing, *tasks[0])
        if meanwhile:
            meanwhile()
        return result

    results, errors, computations = [], [], [own]
    for worker, task in zip(workers[: len(tasks) - 1], tasks[1:], strict=True):
        try:
            worker.submit(function, *task)
            computations.append(worker.result)
        except WorkerLost as error:
            errors.append(error)
    for compute in computations:
        try:
            results.append(compute())
        except Exception as error:
            errors.append(error)
    for error in errors:
        raise error
    return results


def _end(connection, parent: int, pid: int) -> None:
    connection.close()
    if os.getpid() == parent:  # and not another fork of it, which has a copy of this
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has been waited for elsewhere
            os.kill(pid, signal.SIGKILL)  # it has nothing to lose
            os.waitpid(pid, 0)


def _serve(connection, thing, parent: int) -> None:
    """The worker's life. It has none of the other's open files, whose locks it would hold."""
    try:
        for number in UNHEARD:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
        _close_files_but(connection.fileno())
        gc.freeze()  # to look for garbage among the other's objects would copy them all
        while True:
            while not connection.poll(LOOK_UP):
                if os.getppid() != parent:
                    return
            number, function, args = connection.recv()
            try:
                answer = number, True, function(thing, *args)
            except Exception as error:
                answer = number, False, _portable(error)
            connection.send(answer)
    except (EOFError, OSError):
        pass  # the other is gone
    finally:
        os._exit(0)  # nothing of the other's is to be tidied up here


def _portable(error: Exception) -> Exception:
    """The error with its trace as a note, or where it cannot travel to another process, one that says the same."""
    from multiprocessing.reduction import ForkingPickler  # as the pipe does it

    trace = traceback.format_exc()
    try:
        error = ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a process that shares the work:\n{trace}")
    return error


def _close_files_but(kept: int) -> None:
    """Close all files but one and the standard streams. Where those were closed, their numbers are other files'."""
    kept = {kept}
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, or closed
            kept.add(stream.fileno())
    edges = sorted(kept)
    for before, after in zip([-1, *edges], [*edges, os.sysconf("SC_OPEN_MAX")], strict=True):
        if before + 1 < after:  # Python 3.11 takes an empty range from 0 for everything
            os.closerange(before + 1, after)
