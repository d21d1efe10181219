"""Token ids on disk: one file, memory-mapped, trusted only after it has been checked.

    4096 bytes    header: the line "nanograd tokens 1", a line of JSON, spaces, a newline at the very end
    the rest      the ids, little-endian, 2 bytes each (vocabulary up to 65536) or 4

The JSON says what the ids are of (`source`: SHA-256 of the text, fingerprint of the tokenizer), how many, of
what type, below which bound, and their SHA-256. The header is a function of that, so a byte of it that
differs shows; one pass over the ids before they are used shows the rest. A page of a mapped file can be
dropped by the system at any time, so tokens count little against memory however many they are.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gpt.cache import written_whole
from gpt.errors import RunError
from gpt.utf8 import shown

HEADER_BYTES = 4096
MAGIC = b"nanograd tokens 1\n"
_BLOCK_BYTES = 1 << 20


def dtype_for(vocab_size: int) -> np.dtype:
    """The type of the ids 0 … vocab_size - 1 in a file."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_tokens(path: Path, pieces: Iterable, vocab_size: int, source: dict) -> None:
    """Write ids, given in pieces (each a sequence of ints), whole or not at all.

    Raises RunError when it cannot be written, or when an id is not below `vocab_size`.
    """
    dtype = dtype_for(vocab_size)
    digest, count = hashlib.sha256(), 0
    with written_whole(path) as file:
        file.write(bytes(HEADER_BYTES))
        for piece in pieces:
            ids = np.asarray(piece, dtype=np.int64)
            if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
                raise RunError(f"the tokenizer gave an id outside 0 … {vocab_size - 1}")
            data = ids.astype(dtype).tobytes()
            digest.update(data)
            count += len(ids)
            file.write(data)
        file.seek(0)
        file.write(_header(source, dtype, count, vocab_size, digest.hexdigest()))


def read_tokens(path: Path, vocab_size: int, source: dict) -> np.ndarray:
    """Map the ids of a file, after checking all of it. -> (N,) uint16 or uint32, read-only.

    Raises FileNotFoundError when there is no such file, and RunError, with the reason, when it is damaged or
    is not of this `source`. Takes little memory, whatever the file claims about itself.
    """
    dtype = dtype_for(vocab_size)
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER_BYTES)
            count, expected = _claims(path, header, dtype, vocab_size, source)
            digest, n_bytes, largest = hashlib.sha256(), 0, 0
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                n_bytes += len(block)
                if n_bytes > count * dtype.itemsize:
                    break
                whole = block[: len(block) // dtype.itemsize * dtype.itemsize]
                if whole:
                    largest = max(largest, int(np.frombuffer(whole, dtype).max()))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {shown(path)}: {error.strerror or error}") from error
    if n_bytes != count * dtype.itemsize:
        raise RunError(f"{shown(path)} is damaged: it should hold {count} ids and holds more or fewer")
    if digest.hexdigest() != expected or largest >= vocab_size:
        raise RunError(f"{shown(path)} is damaged: its ids are not those that were written")
    return np.memmap(path, dtype, mode="r", offset=HEADER_BYTES, shape=(count,)).view(np.ndarray)


def _header(source, dtype, count, vocab_size, sha256):
    about = {"source": source, "dtype": dtype.str, "count": count, "vocab_size": vocab_size, "sha256": sha256}
    line = json.dumps(about, sort_keys=True).encode()
    return (MAGIC + line).ljust(HEADER_BYTES - 1) + b"\n"


def _claims(path, header, dtype, vocab_size, source):
    """Check a header against the one these tokens must have; -> (count, sha256) as it states them."""
    if not header.startswith(MAGIC) or len(header) < HEADER_BYTES:
        raise RunError(f"{shown(path)} is not a token file of this version, or only the beginning of one")
    try:
        about = json.loads(header[len(MAGIC) :])
        count, sha256 = about["count"], about["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{shown(path)} is damaged: its header cannot be read") from error
    sound = type(count) is int and count > 0 and type(sha256) is str
    if not sound or header != _header(source, dtype, count, vocab_size, sha256):
        raise RunError(f"{shown(path)} is damaged, or of another text or tokenizer")
    return count, sha256
