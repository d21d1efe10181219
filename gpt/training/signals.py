"""Signals from outside: Ctrl-C (SIGINT), SIGTERM, which a system sends before it shuts down, and SIGHUP of a terminal
that was closed.

Where there is nothing to save yet, `interruptible` turns the first one into an exception, so that everything is
tidied up on the way out. While a run trains, `StopRequest` only notes it: the run finishes its step, saves and
ends. Either way the second signal ends the process at once, as it does without a handler.

Both work in the main thread, where Python delivers signals; elsewhere they listen to none.
"""

import contextlib
import os
import signal
import stat
from collections.abc import Iterator

# SIGHUP says that the terminal was closed, where the system has it; nohup starts programs with it ignored.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
STDERR = 2


class Interrupted(KeyboardInterrupt):
    """A signal has come; `exit_code` is 128 + its number, as shells have it: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first signal raises Interrupted, wherever the program is."""

    def stop(number, frame):
        leave_to_the_system()
        raise Interrupted(number)

    previous = listen(stop)
    try:
        yield
    finally:
        restore(previous)


class StopRequest:
    """`with StopRequest() as stop:` … `stop.signal` is the number of the first signal that came, or None.

    It tells the user that the signal was heard, unless it is `silent`.
    """

    def __init__(self, silent: bool = False):
        self.signal, self.silent = None, silent
        self._previous = {}

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    def __enter__(self) -> "StopRequest":
        self._previous = listen(self._first)
        return self

    def _first(self, number, frame) -> None:
        leave_to_the_system()
        self.signal = number
        if number not in (signal.SIGINT, signal.SIGTERM):
            drop_terminal()
        if self.silent:
            return
        with contextlib.suppress(OSError):  # not print: this may have come in the middle of one
            os.write(STDERR, b"\nfinishing this step and saving; a second signal ends it now\n")

    def __exit__(self, *exception) -> None:
        restore(self._previous)


def listen(handler) -> dict:
    """Have `handler` called on each of the signals; returns who was called before."""
    try:
        return {number: signal.signal(number, handler) for number in STOP_SIGNALS if not ignored(number)}
    except ValueError:
        return {}  # not the main thread


def restore(previous: dict) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)


def leave_to_the_system() -> None:
    """From now on a signal ends the process."""
    for number in STOP_SIGNALS:
        if not ignored(number):
            signal.signal(number, signal.SIG_DFL)


def ignored(number: int) -> bool:
    """Whether this is SIGHUP under nohup, which then ends nothing."""
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


def drop_terminal() -> None:
    """Send what is still said nowhere, where it would go to a terminal that is gone."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            with contextlib.suppress(OSError):
                if stat.S_ISCHR(os.fstat(stream).st_mode):
                    os.dup2(nowhere, stream)
        os.close(nowhere)
