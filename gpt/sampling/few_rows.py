"""Products of a few rows with a matrix that is far larger than the caches: a step of several streams, on a CPU.

Such a product takes as long as the matrix takes to come from memory, if it is read once. OpenBLAS copies it first,
block by block, into the order in which its kernel reads it, which pays with many rows only. For small products, on
processors with AVX-512, it has kernels that read the operands where they are. So the matrix is cut into blocks that
are small enough for these:

    x W  =  sum over blocks of rows of  x[:, rows] W[rows, columns]            each block of columns by itself

A small product runs in one thread, so the columns are shared among threads here.
"""

from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_info

from nanograd.device.threads import ThreadPool

MOST = 16  # rows: with more, copying the matrix pays
SMALL = 10**6  # multiplications, up to which a product is small to OpenBLAS
DEEP = 64  # rows of the matrix in a block
WIDE = 768  # its columns in a block, at most
AVX512 = "SkylakeX", "Cooperlake", "Sapphirerapids"  # OpenBLAS's names of the kernels that have small products


def pool_for_few_rows() -> ThreadPool | None:
    """As many threads as NumPy's BLAS has, where that has kernels for small products; else None."""
    for library in threadpool_info():
        if library.get("internal_api") == "openblas" and library.get("architecture") in AVX512:
            return ThreadPool(library["num_threads"])
    return None


def few_rows_product(x, matrix, pool: ThreadPool, out=None):  # (R, K), (K, N) -> (R, N)
    """x @ matrix, for a matrix of contiguous rows or the transpose of one, and R up to MOST."""
    (R, K), N = x.shape, matrix.shape[1]
    out = np.empty((R, N), dtype=x.dtype) if out is None else out
    if matrix.flags.c_contiguous:
        at_once = -(-N // (pool.size * min(WIDE, SMALL // (R * DEEP))))  # blocks of columns for each thread
        edges = [N * i // (pool.size * at_once) for i in range(pool.size * at_once + 1)]
        parts = [slice(a, b) for a, b in pairwise(edges) if b > a]
        pool.map(lambda part: sum_blocks(x, matrix[:, part], out[:, part]), parts)
    else:
        width = min(DEEP, max(1, SMALL // (R * K)))
        pool.map(lambda part: stack_blocks(x, matrix[:, part], width, out[:, part]), pool.slices(N, width))
    return out


def sum_blocks(x, matrix, out) -> None:  # (R, K), (K, n), (R, n)
    """out = x @ matrix, as a sum over blocks of rows of the matrix."""
    whole = len(matrix) // DEEP * DEEP
    blocks = x[:, :whole].reshape(len(x), -1, DEEP).swapaxes(0, 1)  # (blocks, R, DEEP)
    np.matmul(blocks, matrix[:whole].reshape(-1, DEEP, matrix.shape[1])).sum(0, out=out)
    if whole < len(matrix):
        out += x[:, whole:] @ matrix[whole:]


def stack_blocks(x, matrix, width: int, out) -> None:  # (R, K), (K, n), (R, n)
    """out = x @ matrix, as blocks of `width` columns side by side, for the transpose of a matrix of contiguous rows."""
    (R, K), n = x.shape, matrix.shape[1]
    whole = n // width * width
    blocks = matrix[:, :whole].T.reshape(-1, width, K).swapaxes(1, 2)  # (blocks, K, width)
    np.matmul(x, blocks, out=out[:, :whole].reshape(R, -1, width).swapaxes(0, 1))
    if whole < n:
        np.matmul(x, matrix[:, whole:], out=out[:, whole:])
