"""A model's parameters as the page carries them: one block of numbers, base64, and a list of what lies where.

    float16    half the size; a number keeps 11 bits, an error of at most 2^-12 of it
    float32    what the run computed in

Each tensor starts at a multiple of 4 bytes, so that JavaScript can look at it where it lies.
"""

import base64
from collections.abc import Mapping

import numpy as np

from gpt.errors import RunError

LARGEST_HALF = 65504  # the largest number of float16
UNASKED_MB = 32  # the largest page that train.py writes: it takes less than two seconds


def pack(state: Mapping[str, np.ndarray], dtype: str) -> tuple[list[dict], str]:
    """[{name, shape, offset in bytes}], and the base64 of all tensors, little-endian and in C order.

    Raises RunError for a number that is too large for float16.
    """
    index, parts, offset = [], [], 0
    for name, value in state.items():
        if dtype == "float16" and max(value.max(), -value.min()) > LARGEST_HALF:
            raise RunError(f"{name} has numbers that are too large for float16: give --full")
        data = np.ascontiguousarray(value).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
        index.append({"name": name, "shape": list(value.shape), "offset": offset})
        data += bytes(-len(data) % 4)
        parts.append(data)
        offset += len(data)
    return index, base64.b64encode(b"".join(parts)).decode("ascii")


def page_megabytes(n_parameters: int, dtype: str) -> float:
    """The size of a page with so many parameters in it, in MB of 10^6 bytes."""
    return n_parameters * np.dtype(dtype).itemsize * 4 / 3 / 1e6 + 0.25


def may_write_unasked(n_parameters: int) -> bool:
    """Is the page of so many parameters, in float16, one that train.py writes itself?"""
    return page_megabytes(n_parameters, "float16") <= UNASKED_MB
