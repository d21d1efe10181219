"""Tensors in a file: the safetensors format, written durably and read with suspicion.

    8 bytes    length n of the header, little-endian
    n bytes    JSON: {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
    the rest   the tensors' bytes, little-endian, C order, end to end without a gap

Why not the `safetensors` package, which the tests use to check every file in both directions. A checkpoint
needs what version 0.8.0 does not give: each write and fsync in our hands (so that each can be made to fail in
a test), SHA-256 in the same pass, modes that follow the umask (it makes files 0600), and one kind of error.
It writes wrong values for strided arrays without a word, takes a header that names a tensor twice, and its
default reader holds twice the file in memory. Writing here needs no second copy of the tensors, one strided
tensor at a time aside; reading allocates the tensors themselves and nothing else, after everything the header
claims has been held against the file's size.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gpt.errors import RunError
from gpt.files import CHUNK, NewFile, megabytes, open_regular, parse_json

DTYPES = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
ITEM_BYTES = {code: dtype.itemsize for code, dtype in DTYPES.items()}
HEADER_LIMIT = 1 << 20  # bytes: ten thousand tensors; a header that claims more is not ours
MOST_DIMENSIONS = 8
NAME = re.compile(r"(?!__metadata__$)[A-Za-z0-9_.\-]{1,200}")


def quoted(name: str) -> str:
    """A name from an unknown file, made safe to print: ASCII and short."""
    return ascii(name) if len(name) <= 80 else ascii(name[:80]) + "..."


def check_finite(name: str, value: np.ndarray, where: str | os.PathLike) -> None:
    """Raise RunError if a value is NaN or infinite. min and max need no memory, and NaN goes through both."""
    if value.dtype.kind == "f" and value.size:
        with np.errstate(invalid="ignore"):
            if not (np.isfinite(value.min()) and np.isfinite(value.max())):
                raise RunError(f"{where}: tensor {quoted(name)} has values that are NaN or infinite")


def write_safetensors(
    file: NewFile, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] = MappingProxyType({"format": "np"})
) -> None:
    """Write {name: array} into an open file. Raises ValueError for what `read_safetensors` would refuse.

    The widest dtypes come first, so that every tensor starts at a multiple of its item size.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header, offset = {"__metadata__": dict(metadata)}, 0
    for name in order:
        value = tensors[name]
        dtype = value.dtype.newbyteorder("<")
        if dtype not in CODES or not NAME.fullmatch(name) or value.ndim > MOST_DIMENSIONS or value.size == 0:
            raise ValueError(f"cannot store tensor {name!r} of dtype {value.dtype} and shape {value.shape}")
        header[name] = {
            "dtype": CODES[dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + value.nbytes],
        }
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # so that the data start at a multiple of 8
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"{len(tensors)} tensors need a header of more than {HEADER_LIMIT} bytes")
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in order:
        value = tensors[name]
        file.write(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).reshape(-1).view(np.uint8))


def read_safetensors(path: Path, size: int | None = None, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read a file's tensors, {name: writable array}, in one pass and no more memory than the tensors take.

    `size` in bytes and `sha256` in hex are what the file must have, if given. Raises RunError, one line with
    the file and the problem, for anything else: a header that is cut short, too long or no strict JSON, dtypes
    other than `DTYPES`, shapes that do not match their bytes, bytes that belong to no tensor or to two, empty
    tensors, odd names, NaN or infinity in a tensor.
    """
    path = Path(path)
    with open_regular(path) as (file, found):
        if size is not None and found != size:
            raise RunError(f"{path} is damaged: {found} bytes, where {size} are expected")
        reader = Reader(file, path)
        layout = read_header(reader, found, path)
        tensors = {}
        for name, entry in layout.items():
            try:
                tensors[name] = np.empty(entry.shape, DTYPES[entry.code])
            except (MemoryError, ValueError):
                need = megabytes(entry.n_bytes)
                raise RunError(f"{path}: no memory for tensor {quoted(name)} of {need}") from None
            reader.fill(memoryview(tensors[name].reshape(-1).view(np.uint8)))
        if sha256 is not None and reader.sha256.hexdigest() != sha256:
            raise RunError(f"{path} is damaged: its SHA-256 is not the one in the manifest")
    for name, value in tensors.items():
        check_finite(name, value, path)
    return tensors


class Entry(NamedTuple):
    """A tensor as a header describes it: the format's name of its dtype, its shape, where its bytes are in the file."""

    code: str
    shape: tuple[int, ...]
    begin: int
    n_bytes: int


def read_header(
    reader: "Reader", size: int, path: Path, item_bytes: Mapping[str, int] = ITEM_BYTES
) -> dict[str, Entry]:
    """{name: Entry} in the order of the data, from the beginning of a file of `size` bytes.

    `item_bytes`: the dtypes that are known, and how many bytes a number of each takes. Raises RunError unless the
    tensors cover the data exactly.
    """
    if size < 8:
        raise RunError(f"{path} is damaged: {size} bytes are too few for a header")
    length = int.from_bytes(reader.take(8), "little")
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        raise RunError(f"{path} is damaged: a header of {length} bytes in a file of {size} bytes")
    layout = read_layout(bytes(reader.take(length)), size - 8 - length, path, item_bytes)
    return {name: entry._replace(begin=entry.begin + 8 + length) for name, entry in layout.items()}


def read_layout(
    header: bytes, n_bytes: int, path: Path, item_bytes: Mapping[str, int] = ITEM_BYTES
) -> dict[str, Entry]:
    """The same from the header's text; the data are `n_bytes` long, and `begin` counts from their beginning."""

    def damaged(problem):
        return RunError(f"{path} is damaged: its header is {problem}")

    entries = parse_json(header, damaged)
    if not header.startswith(b"{") or not isinstance(entries, dict):
        raise damaged("no JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise damaged("wrong: __metadata__ must hold texts")
    spans = []
    for name, entry in entries.items():
        what = f"wrong: tensor {quoted(name)} has"
        if not NAME.fullmatch(name):
            raise damaged(f"{what} a name with odd characters or of odd length")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise damaged(f"{what} other fields than dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in item_bytes:
            raise damaged(f"{what} a dtype other than {', '.join(item_bytes)}")
        if not _integers(shape, least=1) or len(shape) > MOST_DIMENSIONS:
            raise damaged(f"{what} no proper shape")
        if not _integers(offsets, least=0) or len(offsets) != 2:
            raise damaged(f"{what} no proper data_offsets")
        if offsets[1] - offsets[0] != math.prod(shape) * item_bytes[code]:
            raise damaged(f"{what} a shape that does not match its bytes")
        spans.append((*offsets, name, code, tuple(shape)))
    spans.sort(key=lambda span: span[:2])
    covered = 0
    for begin, end, name, _, _ in spans:
        if begin != covered:
            raise damaged(f"wrong: tensor {quoted(name)} does not start where the one before it ends")
        covered = end
    if covered != n_bytes:
        raise damaged("wrong: the tensors are not as long as the data")
    return {name: Entry(code, shape, begin, end - begin) for begin, end, name, code, shape in spans}


def _integers(value, least: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and least <= item < 1 << 62 for item in value)


class Reader:
    """Reads and hashes a file from its beginning to its end; raises RunError if that comes too soon."""

    def __init__(self, file, path: Path):
        self.file, self.path, self.sha256 = file, path, hashlib.sha256()

    def take(self, n: int) -> bytearray:
        data = bytearray(n)
        self.fill(memoryview(data))
        return data

    def fill(self, view: memoryview) -> None:
        while view.nbytes:
            done = self.file.readinto(view[:CHUNK])
            if not done:
                raise RunError(f"{self.path} is damaged: it ended while it was read")
            self.sha256.update(view[:done])
            view = view[done:]
