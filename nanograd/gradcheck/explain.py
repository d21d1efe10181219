"""What a wrong gradient looks like: a factor, a sign, a transpose, a sum that was forgotten, a term that is missing.

Each clue is found by comparing two arrays, the gradient that backward gave and the right one, for the same upstream
gradient; where that tells something, also with gradients for a part of it. A clue is a question: other mistakes may
look the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

CLOSE = 1e-8  # relative to the largest number: what counts as equal
SHOWN = 3  # wrong numbers


@dataclass(frozen=True)
class Clue:
    """`kind` is a key of SENTENCES; `values` are what its sentence is filled with."""

    kind: str
    values: dict

    def __str__(self) -> str:
        return SENTENCES[self.kind].format(**self.values)


SENTENCES = {
    "zero": "all of it is 0: nothing was added to it",
    "sign": "every number has the wrong sign",
    "factor": "every number is {factor:.6g} times the right one{why}",
    "transpose": "it is the right one with axes {first} and {second} exchanged: is a transpose missing?",
    "part": "only the {which} index of dy's axis {axis} is in it: is a sum over it missing, or = in place of +=?",
    "constant": "the error is the same all along axis {axis}: is a term missing that is a mean or a sum over it?",
    "proportional": "the error is x times a number for each row: is a term missing that points along x?",
}


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to CLOSE of the largest number."""
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= CLOSE * max(np.abs(b).max(initial=0), 1e-12))


def common_factor(yours: np.ndarray, right: np.ndarray) -> float | None:
    """The number that all of `right` was multiplied by to give `yours`, if there is one."""
    if yours.shape != right.shape or not (np.isfinite(yours).all() and np.isfinite(right).all()) or not right.any():
        return None
    factor = float(np.vdot(yours, right) / np.vdot(right, right))
    return factor if not yours.any() or (factor and close(yours, factor * right)) else None


def largest_gaps(yours: np.ndarray, right: np.ndarray) -> Iterator[tuple[tuple[int, ...], float, float]]:
    """(index, yours, right) of the numbers that differ most."""
    gap = np.nan_to_num(np.abs(yours - right), nan=np.inf)
    for flat in np.argsort(-gap, axis=None)[:SHOWN]:
        index = tuple(int(i) for i in np.unravel_index(flat, gap.shape))
        if gap[index] > 0:
            yield index, float(yours[index]), float(right[index])


def clues(
    yours: np.ndarray, right: np.ndarray, dy: np.ndarray, x: np.ndarray | None = None, partial: Callable | None = None
) -> list[Clue]:
    """What `yours` has in common with a mistake, most telling first; nothing where it looks like none.

    `right`: the gradient that belongs to the upstream gradient `dy`, in the shape of the output. `x`: the input, where
    the gradient is that of one. `partial(part)`: the right gradient for another upstream gradient.
    """
    if (factor := common_factor(yours, right)) is not None:
        if factor == 0:
            return [Clue("zero", {})]
        if abs(factor + 1) < CLOSE:
            return [Clue("sign", {})]
        return [Clue("factor", {"factor": factor, "why": _why(factor, dy.shape)})]
    found = [
        Clue("transpose", {"first": first, "second": second})
        for first in range(right.ndim)
        for second in range(first + 1, right.ndim)
        if right.shape[first] == right.shape[second] and close(yours, right.swapaxes(first, second))
    ]
    for axis in range(dy.ndim) if partial and not found else ():
        for which, index in ("first", 0), ("last", -1):
            part = np.zeros_like(dy)
            place = (slice(None),) * axis + (index,)
            part[place] = dy[place]
            if dy.shape[axis] > 1 and close(yours, partial(part)):
                found.append(Clue("part", {"which": which, "axis": axis}))
    error = yours - right
    for axis in range(error.ndim) if not found else ():
        mean = np.broadcast_to(error.mean(axis, keepdims=True), error.shape)
        if error.shape[axis] > 1 and error.any() and close(error, mean):
            found.append(Clue("constant", {"axis": axis}))
    if not found and x is not None and x.shape == error.shape and error.any():
        rows = (error * x).sum(-1, keepdims=True) / np.maximum((x * x).sum(-1, keepdims=True), 1e-300)
        if error.shape[-1] > 1 and close(error, rows * x):
            found.append(Clue("proportional", {}))
    return found


def _why(factor: float, shape: tuple[int, ...]) -> str:
    """What a factor may come from: a mean for a sum, or a sum for a mean, over axes of dy."""
    for axes in [(axis,) for axis in range(len(shape))] + [tuple(range(len(shape) - 1)), tuple(range(len(shape)))]:
        n = int(np.prod([shape[axis] for axis in axes]))
        if n > 1 and any(abs(factor - value) <= CLOSE * value for value in (1 / n, float(n))):
            what = "a mean in place of a sum" if factor < 1 else "a sum in place of a mean"
            return f": {what} over {n}?"
    for value, why in ((2.0, "is a factor 1/2 missing?"), (0.5, "is a factor 2 missing?")):
        if abs(factor - value) <= CLOSE:
            return f": {why}"
    return ""
