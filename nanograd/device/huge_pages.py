"""Memory for arrays that are passed over in every step, in pages of 2 MiB where the system has them.

Usual pages have 4 KiB and lie anywhere in the machine's memory: each takes a place of its own in the processor's table
of addresses, and those that by chance belong to the same lines of a cache push one another out of it. A page of
2 MiB takes one place, and its lines are spread evenly. Arrays begin at a cache line, so that no vector of numbers
lies across two. A step of the article's model takes 4 to 5 % less time (`benchmarks/RESULTS.md`).

Arrays are cut from large blocks, one after the other. A block goes back to the system when the last array in it is
gone. Each thread cuts from blocks of its own, and so does a forked process.
"""

import contextlib
import errno
import mmap
import os
import threading

import numpy as np

PAGE = 2**21
BLOCK = 2**24
LEAST = 2**12  # bytes; what is smaller than a usual page is NumPy's to allocate
LINE = 64  # bytes of a cache line
HAS_PAGES = hasattr(mmap, "MADV_HUGEPAGE")  # Linux

_mine = threading.local()  # `rest`: what is left of this thread's block


def empty(size: int, dtype) -> np.ndarray:  # -> (size,)
    """`np.empty(size, dtype)` in large pages. Raises MemoryError."""
    dtype = np.dtype(dtype)
    n_bytes = size * dtype.itemsize
    lines = -(-n_bytes // LINE) * LINE
    if not HAS_PAGES or n_bytes < LEAST:
        return np.empty(size, dtype)
    if lines > BLOCK // 2:
        return new_block(lines)[:n_bytes].view(dtype)
    rest = getattr(_mine, "rest", None)
    if rest is None or rest.size < lines:
        rest = new_block(BLOCK)
    _mine.rest = rest[lines:]
    return rest[:n_bytes].view(dtype)


def new_block(n_bytes: int) -> np.ndarray:  # -> (n_bytes,) of uint8
    """A block that begins at a large page. What lies around it is never touched, and so takes no memory."""
    memory = anonymous_memory(n_bytes + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system built without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(memory, dtype=np.uint8)
    start = -block.ctypes.data % PAGE
    return block[start : start + n_bytes]


def anonymous_memory(n_bytes: int, **settings) -> mmap.mmap:
    """Memory from the system, without a file: by default shared with the processes forked later. Raises MemoryError."""
    try:
        return mmap.mmap(-1, n_bytes, **settings)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError(f"the system has no {n_bytes:,} bytes") from None


def begin_anew() -> None:
    """Cut from a new block from now on: two processes that write to one page after a fork need a copy of it."""
    vars(_mine).clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_anew)
