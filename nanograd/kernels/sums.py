"""Launches of the kernels for sums over positions, channels and everything (reductions.cu)."""

import contextlib

from nanograd.device.device import contiguous as packed
from nanograd.device.device import xp_of
from nanograd.device.partial_sums import Parts
from nanograd.kernels.launching import c_type, launch, registered, vector_width, wide

COLUMN_BLOCKS = 1024  # blocks of threads, about, among which a sum over positions is split: a few a multiprocessor


@registered
def add_positions(x, total):
    add_columns(packed(x), total)


def add_columns(a, total, b=None, dots=None):
    """Add to total (C,) the sum over the rows of a (N, C), and to dots (C,) that of a * b. Each of the two may be None,
    an array, or the `Parts` of one."""
    rows, C = a.shape
    width = vector_width(a, a if b is None else b, length=C)
    across = -(-C // (32 * width))
    with split(rows, across, a, total, dots) as (slabs, slab, step, sums, adds):
        name = f"column_parts<{c_type(a)}, {width}>"
        launch("reductions", name, (across, slabs), 256, a, b, *sums, rows, C, slab, step, *adds, like=a)


def gelu_backward_columns(dy, x, bias, dx, dbias):
    """dx, for arrays (..., C), and what add_columns would add to `dbias` of it."""
    C = x.shape[-1]
    rows, width = x.size // C, vector_width(dy, x, dx, length=C)
    across = -(-C // (32 * width))
    with split(rows, across, x, dbias) as (slabs, slab, step, sums, adds):
        name = f"gelu_backward<{c_type(x)}, {width}>"
        launch("gelu", name, (across, slabs), 256, dy, x, bias, dx, *sums, rows, C, slab, step, *adds, like=x)


@contextlib.contextmanager
def split(rows, across, like, *totals):
    """How the sums over `rows` for `totals`, each None, an array (C,) or `Parts`, are split among blocks of threads,
    `across` of them side by side over the columns: (slabs, rows of each, numbers from the sums of one slab to those of
    the next, arrays for the sums, whether each array holds something that is to be added to). Afterwards the sums of
    all slabs are added up, but for `Parts` of the same PartialSums, which are added up with those of other vectors."""
    given = [total for total in totals if total is not None]
    waiting = given and all(isinstance(total, Parts) and total.sums is given[0].sums for total in given)
    if waiting:
        sums = given[0].sums
        slabs = sums.slabs(rows)
        arrays, adds = zip(*((None, False) if total is None else total.take() for total in totals), strict=True)
        yield slabs, -(-rows // slabs), sums.grads.size, arrays, [int(add) for add in adds]
        return
    least = 64 if given else 8
    slab = rows if given and rows <= COLUMN_BLOCKS else max(least, -(-rows * across // COLUMN_BLOCKS))
    slabs = -(-rows // slab)
    totals = [total.parameter.grad if isinstance(total, Parts) else total for total in totals]
    if slabs == 1 or not given:
        yield slabs, slab, 0, totals, [1] * len(totals)
        return
    C = given[0].size
    parts = [total if total is None else xp_of(like).empty((slabs, C), dtype=wide(like)) for total in totals]
    yield slabs, slab, C, parts, [0] * len(totals)
    for part, total in zip(parts, totals, strict=True):
        if total is not None:
            add_parts(part, total, True)


@registered
def add_parts(parts, total, add):
    slabs, C = parts.shape
    sizes = slabs, C, parts.strides[0] // parts.itemsize, int(add)
    name = f"add_parts<{c_type(total)}>"
    launch("reductions", name, (-(-C // 32),), 256, parts, total, *sizes, like=total, views=True)


@registered
def dot_channels(x, y):
    x, y = packed(x), packed(y)
    C = x.shape[-1]
    dots = xp_of(x).empty(x.shape[:-1], dtype=x.dtype)
    name = f"row_dots<{c_type(x)}>"
    launch("reductions", name, (-(-dots.size // 8),), 256, x, y, dots, dots.size, C, like=x)
    return dots


@registered
def square_sum(g):
    xp = xp_of(g)
    blocks = min(1024, -(-g.size // 256))
    parts, total = xp.empty(blocks, dtype="float64"), xp.empty((), dtype="float64")
    launch("reductions", f"square_parts<{c_type(g)}>", (blocks,), 256, g, parts, g.size, like=g)
    launch("reductions", f"total<{c_type(g)}>", (1,), 256, parts, total, blocks, like=g)
    return total
