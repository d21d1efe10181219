"""A pool of threads that run one function over several items at once.

NumPy releases Python's lock inside its loops and its BLAS, so the threads run in parallel. A BLAS has threads of its
own, which split a single product: `limit_blas`.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

WORTH_A_THREAD = 2**19  # elements to pass over: with fewer, waking another thread takes longer than the work


class ThreadPool:
    """`size` threads, the caller's among them."""

    def __init__(self, size: int):
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1, thread_name_prefix="nanograd") if size > 1 else None

    def map(self, function, items) -> list:
        """[function(item) for item in items], side by side. The first exception is raised when all are done."""
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        futures = [self._pool.submit(function, item) for item in items[1:]]
        try:
            first = function(items[0])
        finally:
            errors = [future.exception() for future in futures]
        for error in filter(None, errors):
            raise error
        return [first, *(future.result() for future in futures)]

    def slices(self, n: int, least: int = 1) -> list[slice]:
        """range(n) in contiguous parts of nearly equal length: `size` of them, or fewer of at least `least` each."""
        parts = max(1, min(self.size, n // max(1, least)))
        edges = [n * i // parts for i in range(parts + 1)]
        return [slice(a, b) for a, b in pairwise(edges) if b > a]


SERIAL = ThreadPool(1)


def limit_blas(threads: int) -> None:
    """Let the BLAS use that many threads, in this process, from now on."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, user_api="blas")
