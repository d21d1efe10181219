"""A progress bar in a notebook, which needs no widgets.

tqdm's own bar for notebooks is made of ipywidgets; without them it warns and writes to stderr, and in a notebook that
was saved it is lost. This one is a line of HTML in a place that is written to again, so it works wherever a kernel
does, and its last state stays in the file.
"""

import time
from collections.abc import Callable

from gpt.notebook.html import escape
from gpt.notebook.kernel import Place

SECONDS = 0.2  # from one time that it is drawn to the next, at least


class NotebookBar:
    """What a training uses of a tqdm bar, under the same names. `clock` counts seconds."""

    disable = False

    def __init__(
        self, total: int, initial: int = 0, desc: str = "", clock: Callable[[], float] = time.monotonic, place=None
    ):
        self.total, self.n, self.first, self.desc, self.clock = total, initial, initial, desc, clock
        self.place, self.postfix = Place() if place is None else place, ""
        self.start = self.drawn = clock()
        self.ended = False

    def __enter__(self) -> "NotebookBar":
        self.draw()
        return self

    def __exit__(self, *exception) -> None:
        self.ended = True
        self.draw()

    def update(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self.n += steps
        if self.clock() - self.drawn >= SECONDS:
            self.draw()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """`text` stands behind the bar from now on."""
        self.postfix = text
        if refresh:
            self.draw()

    def draw(self) -> None:
        self.drawn = self.clock()
        text = self.text()
        bar = f'<progress value="{self.n}" max="{self.total}" style="vertical-align: middle"></progress> '
        self.place.show({"text/html": ("" if self.ended else bar) + escape(text), "text/plain": text})

    def text(self) -> str:
        """`120/600, 00:11 left, loss 2.31`, and at the end `600/600 in 00:14, loss 0.92`."""
        from tqdm import tqdm

        seconds, done = self.clock() - self.start, self.n - self.first
        parts = [f"{self.n}/{self.total}"]
        if self.ended:
            parts[0] += f" in {tqdm.format_interval(seconds)}"
        elif done:
            parts.append(f"{tqdm.format_interval(seconds / done * (self.total - self.n))} left")
        if self.desc:
            parts[0] = f"{self.desc}: {parts[0]}"
        return ", ".join([*parts, self.postfix] if self.postfix else parts)
