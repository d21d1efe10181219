"""Stopping a run from outside: Ctrl-C (SIGINT) and SIGTERM ask it to finish its step, save and end.

The second signal does not ask: it ends the process at once, as if nobody had listened.
"""

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """`with StopRequest() as stop:` … `stop.signal` is the number of the first signal that came, or None.

    Works in the main thread, where Python delivers signals; elsewhere it listens to none.
    """

    def __init__(self):
        self.signal = None
        self._previous = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal

    def __enter__(self) -> "StopRequest":
        try:
            self._previous = {number: signal.signal(number, self._first) for number in STOP_SIGNALS}
        except ValueError:
            self._previous = {}  # not the main thread
        return self

    def _first(self, number, frame) -> None:
        self.signal = number
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
