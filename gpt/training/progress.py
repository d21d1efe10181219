"""What a run says while it trains: a progress bar on a terminal or in a notebook, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from gpt.cli.output import fitted
from gpt.notebook.bar import NotebookBar
from gpt.notebook.kernel import in_kernel

FIRST_SECONDS = 20.0  # after which the first line comes
FOR_THE_CURSOR = 4  # columns behind the bar, where a terminal echoes Ctrl-C
SECONDS = 300.0  # from one to the next


def progress_bar(step: int, max_steps: int):
    """A tqdm bar on a terminal, one like it in a notebook; elsewhere it stays silent."""
    if in_kernel():
        return NotebookBar(max_steps, step)
    from tqdm import tqdm

    bar = tqdm(
        total=max_steps,
        initial=step,
        dynamic_ncols=True,
        leave=False,
        disable=None,
        delay=0.01,  # not before its width is set, below
        bar_format="{n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}",
    )
    if not bar.disable:
        shape = bar.dynamic_ncols
        bar.dynamic_ncols = lambda stream: (shape(stream)[0] - FOR_THE_CURSOR, shape(stream)[1])
    return bar


def print_line(line: str) -> None:
    """Print a line without tearing the progress bar; on a terminal it is broken between words."""
    from tqdm import tqdm

    tqdm.write(fitted(line, sys.stdout, indent="    "))
    sys.stdout.flush()


class Reports:
    """Lines with the speed and the time that is left, for output that is read later. `clock` counts seconds.

    The first line comes FIRST_SECONDS after the start, or with the first step that ends later; the next ones
    SECONDS after a line, of whatever kind.
    """

    def __init__(self, step: int, max_steps: int, tokens: int, clock: Callable[[], float] = time.monotonic):
        self.first_step, self.max_steps, self.tokens, self.clock = step, max_steps, tokens, clock
        self.start = clock()
        self.due = self.start + FIRST_SECONDS

    def said(self) -> None:
        """Another line was printed: the next one here may wait."""
        self.due = max(self.due, self.clock() + SECONDS)

    def line(self, step: int) -> str:
        """The line after `step` steps, or "" while it is not due."""
        now = self.clock()
        if now < self.due or step >= self.max_steps:
            return ""
        self.due = now + SECONDS
        pace = (now - self.start) / (step - self.first_step)  # seconds a step
        left = duration(pace * (self.max_steps - step))
        return f"step {step} of {self.max_steps}: {self.tokens / pace:,.0f} tokens/s, about {left} left"


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 9 min, 3.5 h, 2.1 days."""
    for size, unit, digits in (86400, "days", 1), (3600, "h", 1), (60, "min", 0):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def watched_samples(steps: Iterable, n_tokens: int) -> Iterator:
    """The steps of the samples at the end of a run, with a bar, or where there is none a line if they take long.

    The next lines come when twice the time has passed. Each goes by the pace since the one before: a token costs far
    more once the window slides. Ctrl-C ends the samples there, and nothing else.
    """
    start = since = time.monotonic()
    due, told = start + FIRST_SECONDS, 0
    with samples_bar(n_tokens) as bar:
        try:
            for done, step in enumerate(steps, 1):
                yield step
                bar.update()
                now = time.monotonic()
                if bar.disable and now > due and done < n_tokens:
                    left = duration((now - since) / (done - told) * (n_tokens - done))
                    print_line(f"samples: {done} of {n_tokens} tokens, about {left} left; Ctrl-C ends them")
                    due, since, told = now + (now - start), now, done
        except KeyboardInterrupt:
            print_line("the samples end here, as asked")


def samples_bar(n_tokens: int):
    if in_kernel():
        return NotebookBar(n_tokens, desc="samples")
    from tqdm import tqdm

    return tqdm(total=n_tokens, desc="samples", unit=" tokens", leave=False, disable=None, dynamic_ncols=True)
