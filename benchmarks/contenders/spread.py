"""How far a contender's timings lie apart and how busy the machine was: what a ratio of medians does not say.

A median of a contender that had a slow minute looks like any other. So a figure comes with the 10th and the 90th
percentile of its timings, a ratio with what these make of it, and measuring goes on until the spread is small.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEADY = 1.25  # a spread up to this, 90th over 10th percentile, is small
LEAST = 5  # timings, for a spread to be called small
MOST = 3  # times as many rounds as were asked for, at the most
SAMPLE = 0.5  # seconds over which the machine is watched
Load = float | None | list[float | None]  # of `busy`


@dataclass(frozen=True)
class Spread:
    """The 10th percentile, the median and the 90th of timings."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, timings: Iterable[float]) -> "Spread":
        return cls(*map(float, np.percentile(list(timings), (10, 50, 90))))

    @property
    def width(self) -> float:
        return self.high / self.low

    @property
    def steady(self) -> bool:
        return self.width <= STEADY

    def __str__(self) -> str:
        digits = 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def times(self, factor: float) -> "Spread":
        """What `factor` of these take, one after the other."""
        return Spread(self.low * factor, self.median * factor, self.high * factor)


def ratio(one: Spread, other: Spread) -> str:
    """one / other by medians, and between which numbers it lies where each had its better or its worse moments."""
    return f"{one.median / other.median:.2f} ({one.low / other.high:.2f} to {one.high / other.low:.2f})"


def until_steady(measure: Callable[[], None], timings: Callable[[], dict[str, list]], rounds: int) -> list[str]:
    """Call `measure` for `rounds` rounds, and then until all of `timings()` are steady, or MOST times as many.

    Returns the names of those that are not steady at the end.
    """
    for number in range(1, MOST * rounds + 1):
        measure()
        unsteady = unsteady_among(timings())
        if number >= rounds and not unsteady:
            break
    return unsteady


def unsteady_among(timings: dict[str, list]) -> list[str]:
    """The names whose timings lie far apart, or are too few to say so."""
    return [name for name, found in timings.items() if len(found) < LEAST or not Spread.of(found).steady]


def conditions(unsteady: list[str], before: Load, after: Load) -> str:
    """The sentence below a table or beside a ratio: what is not steady, and what `busy` said before and after.

    Several runs have several loads.
    """
    return f"{verdict(unsteady)}; the machine was busy to {share(before)} before and {share(after)} after"


def verdict(unsteady: list[str]) -> str:
    if not unsteady:
        return f"all timings are steady: of each the 90th percentile is at most {STEADY} times the 10th"
    return f"NOT STEADY: {', '.join(unsteady)}: too few timings, or something else was running; the ratios say little"


def busy(seconds: float = SAMPLE, stat: Path = Path("/proc/stat")) -> float | None:
    """The share of all cores' time that is used now, over so many seconds; None where the system does not tell."""
    try:
        before = _times(stat)
        time.sleep(seconds)
        used, all_of_it = (after - early for after, early in zip(_times(stat), before, strict=True))
    except OSError:
        return None
    return used / all_of_it if all_of_it else 0.0


def _times(stat: Path) -> tuple[int, int]:
    """(ticks in use, all ticks) of all cores together since the system started."""
    ticks = [int(word) for word in stat.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle and waiting for a disk


def share(load: Load) -> str:
    if isinstance(load, list):
        return ", ".join(map(share, load))
    return "an unknown share" if load is None else f"{load:.0%}"
