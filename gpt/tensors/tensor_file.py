"""A safetensors file of another program, read tensor by tensor: nothing is held that was not asked for.

Checkpoints of ours are read as a whole (safetensors.py). A model of another project may have its tensors in half
precision, in another order and layout, and some of them are not needed; so here the header is checked first, and
then rows of one tensor at a time are read into the place where they are wanted.

bfloat16 is the upper half of a float32: 16 zero bits behind each number make one.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt.errors import RunError
from gpt.files import explained, open_regular
from gpt.tensors.safetensors import ITEM_BYTES, Entry, Reader, quoted, read_header

FLOATS = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
KNOWN = ITEM_BYTES | {"BF16": 2, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}  # bytes of a number
PIECE = 8 << 20  # bytes read at a time


class TensorFile:
    """`entries`: {name: Entry} of an open file. Raises RunError for a damaged header; close it when done."""

    def __init__(self, path: Path):
        self.path = path
        with contextlib.ExitStack() as stack:
            self._file, size = stack.enter_context(open_regular(path))
            self.entries: dict[str, Entry] = read_header(Reader(self._file, path), size, path, KNOWN)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def dtype(self, name: str) -> np.dtype:
        """float64 for a tensor of that, float32 for all other floating-point numbers. RunError for anything else."""
        code = self.entries[name].code
        if code not in FLOATS:
            known = "float16, bfloat16, float32 and float64"
            raise RunError(f"{self.path}: tensor {quoted(name)} has dtype {code}, and weights are read in {known}")
        return np.dtype(np.float64 if code == "F64" else np.float32)

    def pieces(self, name: str, whole: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows (n, ...)) of a tensor, a few megabytes at a time, or all at once with `whole`."""
        entry, dtype = self.entries[name], self.dtype(name)
        n_rows, row_bytes = entry.shape[0], entry.n_bytes // entry.shape[0]
        step = n_rows if whole else max(1, PIECE // row_bytes)
        for start in range(0, n_rows, step):
            stop = min(start + step, n_rows)
            raw = np.empty((stop - start, *entry.shape[1:]), FLOATS[entry.code])
            self._read(memoryview(raw.reshape(-1).view(np.uint8)), entry.begin + start * row_bytes)
            yield start, widened(raw, entry.code, dtype)

    def _read(self, view: memoryview, offset: int) -> None:
        with explained("read", self.path):
            self._file.seek(offset, os.SEEK_SET)
            while view.nbytes:
                done = self._file.readinto(view)
                if not done:
                    raise RunError(f"{self.path} is damaged: it ended while it was read")
                view = view[done:]


def widened(raw: np.ndarray, code: str, dtype: np.dtype) -> np.ndarray:
    """The numbers of a file as `dtype`, which holds them all."""
    if code == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(dtype, copy=False)
