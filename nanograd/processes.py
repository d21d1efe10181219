"""Processes that share one step's work.

Threads of one Python take turns at its lock: with small arrays they wait for it as often as they compute. A forked
process has a lock of its own. It shares the memory that was made for sharing, here the parameters and gradients, and
keeps a copy of everything else from the moment it was forked; a page of that takes memory when somebody writes to it.

A `Helper` computes what it is asked for and nothing else, and ends when the process that forked it does, in any way.
"""

import contextlib
import gc
import mmap
import os
import signal
import sys
import warnings
import weakref
from multiprocessing.connection import Connection, Pipe

import numpy as np

CAN_FORK = sys.platform == "linux"  # elsewhere a fork breaks the system's libraries, or does not exist


class HelperLost(ChildProcessError):
    """A helper ended, or was ended, before it answered."""


def shared_empty(size: int, dtype) -> np.ndarray:  # -> (size,)
    """An array whose memory the processes forked from this one share with it."""
    return np.frombuffer(mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize)), dtype=dtype, count=size)


class Helper:
    """A process that holds `thing`, as it is now, and calls functions with it, in the order in which it is told to."""

    def __init__(self, thing):
        ours, theirs = Pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of locks that other threads hold: those of the BLAS, which lets go of them to be forked.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            _serve(theirs, thing)
        theirs.close()
        self._connection = ours
        self.end = weakref.finalize(self, _end, ours, pid)

    def tell(self, function, *args) -> None:
        """Have it call function(thing, *args), a function that is found by its name and cannot fail."""
        self._send(False, function, args)

    def ask(self, function, *args) -> None:
        """The same for a function that may fail, and whose result is wanted: `answer` has to follow."""
        self._send(True, function, args)

    def answer(self):
        """What came of it: the result, or the exception, raised here. Raises HelperLost if there will be none."""
        with self._lost():
            fine, result = self._connection.recv()
        if fine:
            return result
        raise result

    def _send(self, *message) -> None:
        with self._lost():
            self._connection.send(message)

    @contextlib.contextmanager
    def _lost(self):
        try:
            yield
        except (EOFError, OSError):
            self.end()
            raise HelperLost("a process that shares the work has ended; was it killed, or short of memory?") from None


def call_all(helpers: list[Helper], function, thing, tasks: list[tuple]) -> list:
    """[function(x, *task) for each task], side by side: x is `thing` here for the first, the helpers' for the others.

    The first exception is raised when all are done.
    """
    asked = helpers[: len(tasks) - 1]
    for helper, task in zip(asked, tasks[1:], strict=True):
        helper.ask(function, *task)
    results, errors = [], []
    for compute in (lambda: function(thing, *tasks[0]), *(helper.answer for helper in asked)):
        try:
            results.append(compute())
        except Exception as error:
            errors.append(error)
    for error in errors:
        raise error
    return results


def _end(connection: Connection, pid: int) -> None:
    connection.close()
    with contextlib.suppress(ChildProcessError):  # somebody has waited for it, or this is not the process that forked
        os.waitpid(pid, 0)


def _serve(connection: Connection, thing) -> None:
    """The helper's life. It has none of the other's open files, whose locks it would hold, and hears no signals that
    ask the other to stop: it has to finish what it was asked for."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(connection.fileno())
        gc.freeze()  # to look for garbage among the other's objects would copy them all
        while True:
            wanted, function, args = connection.recv()
            try:
                answer = True, function(thing, *args)
            except Exception as error:
                answer = False, error
            if wanted:
                connection.send(answer)
    except (EOFError, OSError):
        pass  # the other is gone
    finally:
        os._exit(0)  # nothing of the other's is to be tidied up here


def _close_all_but(kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if (number := int(name)) > 2 and number != kept:
            with contextlib.suppress(OSError):
                os.close(number)
