"""Which classic mistake makes these wrong numbers?

Every mistake of the exercise is planted in its solution and run at the same point: where a learner's wrong result is
that of a mistake, to nine digits, the learner has most likely made it, however the lines look. What no mistake explains
may still be the right result times a number, or zero.
"""

import functools

import numpy as np

from exercises.cases import SEEDS, run
from exercises.catalog import exercise, module_of, solved
from nanograd.gradcheck.explain import common_factor

CLOSE = 1e-9


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to nine digits of the largest number, minus infinity included."""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a - b)[finite] <= CLOSE * max(np.abs(b[finite]).max(initial=0), 1e-12)).all())


@functools.cache
def right_results(name: str) -> tuple[dict[str, np.ndarray], ...]:
    return tuple(run(name, solved(name), seed) for seed in SEEDS)


@functools.cache
def wrong_results(name: str):
    """{mistake number: its results at every seed}, of those that can be run."""
    found = {}
    for mistake in exercise(name).mistakes:
        module = module_of(exercise(name).planted(mistake), f"{name} with mistake {mistake.number}")
        try:
            with np.errstate(all="ignore"):
                found[mistake.number] = tuple(run(name, module, seed) for seed in SEEDS)
        except Exception:  # a planted mistake may well not run: it explains no number then
            continue
    return found


def wrong_names(name: str, results) -> list[str]:
    """The results that differ from the solution's, at any seed."""
    right = right_results(name)
    return [what for what in right[0] if not all(same(r[what], q[what]) for r, q in zip(results, right, strict=True))]


def _joined(results, what: str) -> np.ndarray:
    """A result at all seeds, flat."""
    return np.concatenate([result[what].ravel() for result in results])


def recognise(name: str, results) -> tuple[list[int], dict[str, float]]:
    """(numbers of the mistakes that explain the wrong results, {result that is right but for a factor: the factor}).

    `results` are run(…) of the learner's module at every seed. One mistake that explains all is taken before several
    that explain one each.
    """
    right, wrong = right_results(name), wrong_results(name)
    names = wrong_names(name, results)

    def explains(number, what):
        theirs = wrong[number]
        hit = all(same(r[what], t[what]) for r, t in zip(results, theirs, strict=True))
        return hit and not all(same(t[what], q[what]) for t, q in zip(theirs, right, strict=True))

    all_of_it = [number for number in wrong if names and all(explains(number, what) for what in names)]
    if all_of_it:  # the one that makes nothing else wrong, if there is one
        return [min(all_of_it, key=lambda number: wrong_names(name, wrong[number]) != names)], {}
    mistakes, factors = [], {}
    for what in names:
        number = next((number for number in wrong if explains(number, what)), None)
        if number is not None:
            mistakes += [number] * (number not in mistakes)
        elif (factor := common_factor(_joined(results, what), _joined(right, what))) is not None:
            factors[what] = factor
    return mistakes, factors
