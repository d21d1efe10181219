"""Token ids on disk: one file, memory-mapped, trusted only after it has been checked.

    the ids       little-endian, 2 bytes each (vocabulary up to 65536) or 4
    4096 bytes    label: the line "nanograd tokens 1", a line of JSON, spaces, a newline at the very end

The JSON says what the ids are of (`source`: SHA-256 of the text, fingerprint of the tokenizer), how many, of
what type, below which bound, and their SHA-256. The label is a function of that, so a byte of it that differs
shows; one pass over the ids before they are used shows the rest. A page of a mapped file can be dropped by
the system at any time, so tokens count little against memory however many they are.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gpt.errors import RunError
from gpt.files import atomic_file, open_regular
from gpt.utf8 import shown

LABEL_BYTES = 4096
MAGIC = b"nanograd tokens 1\n"
BLOCK_BYTES = 1 << 20


def dtype_for(vocab_size: int) -> np.dtype:
    """The type of the ids 0 … vocab_size - 1 in a file."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_tokens(path: Path, pieces: Iterable, vocab_size: int, source: dict) -> None:
    """Write ids, given in pieces (each a sequence of ints), durably, whole or not at all.

    Raises RunError when it cannot be written, or when an id is not below `vocab_size`.
    """
    dtype = dtype_for(vocab_size)
    with atomic_file(path) as file:
        for piece in pieces:
            ids = np.asarray(piece, dtype=np.int64)
            if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
                raise RunError(f"the tokenizer gave an id outside 0 to {vocab_size - 1}")
            if ids.size:
                file.write(ids.astype(dtype))
        file.write(_label(source, dtype, file.size // dtype.itemsize, vocab_size, file.sha256))


def read_tokens(path: Path, vocab_size: int, source: dict) -> np.ndarray:
    """Map the ids of a file, after checking all of it. -> (N,) uint16 or uint32, read-only.

    Raises FileNotFoundError when there is no such file, and RunError, with the reason, when it is damaged or is
    not of this `source`. Takes little memory, whatever the file claims about itself.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    dtype = dtype_for(vocab_size)
    with open_regular(path) as (unbuffered, size):
        file = io.BufferedReader(unbuffered)
        n_bytes = size - LABEL_BYTES  # of ids
        file.seek(max(n_bytes, 0))
        expected = _check_label(path, file.read(LABEL_BYTES), dtype, n_bytes, vocab_size, source)
        file.seek(0)
        digest, largest = hashlib.sha256(), 0
        for start in range(0, n_bytes, BLOCK_BYTES):
            block = file.read(min(BLOCK_BYTES, n_bytes - start))
            digest.update(block)
            ids = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
            largest = max(largest, int(ids.max(initial=0)))
    if digest.hexdigest() != expected or largest >= vocab_size:
        raise RunError(f"{shown(path)} is damaged: its ids are not those that were written")
    return np.memmap(path, dtype, mode="r", shape=(n_bytes // dtype.itemsize,)).view(np.ndarray)


def _label(source, dtype, count, vocab_size, sha256):
    about = {"source": source, "dtype": dtype.str, "count": count, "vocab_size": vocab_size, "sha256": sha256}
    line = json.dumps(about, sort_keys=True).encode()
    return (MAGIC + line).ljust(LABEL_BYTES - 1) + b"\n"


def _check_label(path, label, dtype, n_bytes, vocab_size, source):
    """Compare a label with the one that these tokens must have; -> the SHA-256 that it states."""
    if n_bytes < 0 or not label.startswith(MAGIC):
        raise RunError(f"{shown(path)} is damaged, or not a token file of this version")
    try:
        sha256 = json.loads(label[len(MAGIC) :])["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{shown(path)} is damaged: its label cannot be read") from error
    count, odd = divmod(n_bytes, dtype.itemsize)
    if odd or not count or label != _label(source, dtype, count, vocab_size, sha256):
        raise RunError(f"{shown(path)} is damaged, or of another text or tokenizer")
    return sha256
