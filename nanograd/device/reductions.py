"""Rows and channels: the few operations between an (N, C) array and a vector that every layer is made of.

Sums and means are written as products with a vector of ones, which a BLAS does several times faster than `sum`:

    sum over positions   1^T x      (N, C) -> (C,)
    mean over channels   x 1 / C    (..., C) -> (...)
"""

import functools

import numpy as np

from nanograd.device.device import fused, xp_of


@functools.lru_cache(maxsize=64)
def constant_row(n: int, value: float, dtype, xp=np):  # -> (n,)
    """A vector of `n` times `value`, made once. Not to be written to."""
    return xp.full(n, value, dtype=dtype)


@fused
def add_rows(y, row):  # (N, C), (C,)
    """y += row, for each row of y."""
    y += row


@fused
def fill_rows(y, row):  # (N, C), (C,)
    """y = row, for each row of y."""
    y[...] = row


def affine(device, x, weight, row, y):  # (N, n_in), (n_in, n_out), (n_out,), (N, n_out)
    """y = x weight + row, for each row of y. A GPU's product adds to rows that are there: half of a pass less."""
    if device.name == "numpy":
        device.matmul(x, weight, y)
        add_rows(y, row)
    else:
        fill_rows(y, row)
        device.matmul(x, weight, y, add=True)


@fused
def scale_rows(x, row, y):  # (N, C), (C,), (N, C)
    """y = x * row, for each row of x."""
    np.multiply(x, row, out=y)


def sum_positions(x):  # (N, C) -> (C,)
    """The sum of all rows."""
    return constant_row(x.shape[0], 1.0, x.dtype, xp_of(x)) @ x


@fused
def add_positions(x, total):  # (N, C), (C,)
    """total += the sum of all rows of x."""
    total += sum_positions(x)


def sum_channels(x):  # (..., C) -> (...)
    """The sum of each row."""
    return x @ constant_row(x.shape[-1], 1.0, x.dtype, xp_of(x))


def mean_channels(x):  # (..., C) -> (...)
    """The mean of each row."""
    return x @ constant_row(x.shape[-1], 1.0 / x.shape[-1], x.dtype, xp_of(x))


@fused
def dot_channels(x, y):  # (..., C), (..., C) -> (...)
    """The dot product of each row of `x` with the same row of `y`, in one pass."""
    if x.dtype.kind == "c":  # vecdot would conjugate x
        return np.einsum("...c,...c->...", x, y)
    return np.vecdot(x, y)
