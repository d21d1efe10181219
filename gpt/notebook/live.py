"""A curve that follows a training in a notebook: `train(callback=LiveCurve())`."""

import time

from gpt.notebook.curve import LossCurve
from gpt.notebook.kernel import Place, in_kernel

SECONDS = 0.5  # from one time that it is drawn to the next, but for evaluations, which are always drawn


class LiveCurve(LossCurve):
    """A LossCurve that is a callback of `gpt.train`: it takes each line that is measured, and is drawn anew.

    Outside a notebook nothing is drawn; the curve is there afterwards all the same.
    """

    def __init__(self, language: str = "en", place: Place | None = None):
        super().__init__(language=language)
        self.place = place or (Place() if in_kernel() else None)
        self.drawn = -SECONDS

    def __call__(self, line: dict) -> None:
        self.add(line)
        now = time.monotonic()
        if self.place is not None and ("val_loss" in line or now - self.drawn >= SECONDS):
            self.drawn = now
            self.place.show({"image/svg+xml": self.svg(), "text/plain": repr(self)})
