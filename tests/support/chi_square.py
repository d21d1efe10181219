"""Pearson's chi-square test, for draws that should follow a distribution."""

import math


def chi_square(observed, expected):
    """Pearson's statistic over the cells with an expectation, and the count seen in the others."""
    cells = expected > 0
    statistic = ((observed[cells] - expected[cells]) ** 2 / expected[cells]).sum()
    return statistic, observed[~cells].sum(), cells.sum() - 1


def chi_square_limit(freedom):
    """The value that chi-square with `freedom` degrees exceeds with probability 1e-4.

    Wilson & Hilferty's cube-root approximation with the normal quantile 3.719; a table where that is rough.
    """
    table = {1: 15.137, 2: 18.421, 3: 21.108, 4: 23.513}
    return table.get(freedom) or freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
