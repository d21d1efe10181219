"""Sums and means written as products with a vector of ones, which a BLAS does several times faster than `sum`.

sum over positions   1^T x      (N, C) -> (C,)
mean over channels   x 1 / C    (..., C) -> (...)
"""

import functools

import numpy as np

from nanograd.backend import fused, xp_of


@functools.lru_cache(maxsize=64)
def constant_vector(xp, n: int, value: float, dtype):
    """A vector of `n` times `value`, made once."""
    return xp.full(n, value, dtype=dtype)


@fused
def sum_positions(x):  # (N, C) -> (C,)
    """The sum of all rows."""
    return constant_vector(np, x.shape[0], 1.0, x.dtype) @ x


def sum_channels(x):  # (..., C) -> (...)
    """The sum of each row."""
    return x @ constant_vector(xp_of(x), x.shape[-1], 1.0, x.dtype)


def mean_channels(x):  # (..., C) -> (...)
    """The mean of each row."""
    return x @ constant_vector(xp_of(x), x.shape[-1], 1.0 / x.shape[-1], x.dtype)


def dot_channels(x, y):  # (..., C), (..., C) -> (...)
    """The dot product of each row of `x` with the same row of `y`, in one pass."""
    return xp_of(x).einsum("...c,...c->...", x, y)
