"""A GGUF file, llama.cpp's format: sizes, tokenizer and tensors in one, the tensors often in four to eight bits.

    "GGUF"  version  number of tensors  number of keys
    each key     name  type  value                 "llama.block_count" = 30, "tokenizer.ggml.tokens" = [...]
    each tensor  name  sizes  type  offset         sizes from the last axis to the first
    the data     aligned

llama.cpp's package `gguf` knows the types and turns their blocks into float32. The list in front is walked here, since
the package's own reader checks no length it meets, and takes two seconds and 150 MB for 49,000 tokens. Nothing is
mapped: a few megabytes of rows at a time are read and dequantised.
"""

import contextlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpt.errors import RunError
from gpt.files import explained, open_regular
from gpt.hub.gguf.names import config_of, tokenizer_of
from gpt.hub.layout import gguf_layout
from gpt.hub.shapes import Shape, shape_of
from gpt.tensors.safetensors import quoted
from gpt.tokenizers import Tokenizer

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
PIECE = 1 << 20  # numbers read at a time
MOST_DIMENSIONS = 4
NEEDED = 'GGUF files need the package gguf: pip install "nanograd[hub]", or pip install gguf'


class Tensor(NamedTuple):
    kind: Any  # gguf.GGMLQuantizationType
    shape: tuple[int, ...]
    begin: int
    row_bytes: int


class GGUFFile:
    """An open file, a source as gpt/hub/weights.py describes it: `path`, `tensors` {name: shape}, `keys` {name: value}.

    Use it in a `with`. Raises RunError for a damaged file, a type that is not known, or without the package gguf.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            import gguf
        except ModuleNotFoundError:
            raise RunError(NEEDED) from None
        self._gguf = gguf
        with contextlib.ExitStack() as stack:
            self._file, size = stack.enter_context(open_regular(path))
            if size < 24:
                raise self.damaged(f"{size} bytes are too few")
            with explained("read", path), mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                try:
                    self.keys, self._tensors = self._read(Cursor(data), size)
                except (struct.error, UnicodeDecodeError):
                    raise self.damaged("its list of keys and tensors breaks off or is none") from None
            self._stack = stack.pop_all()
        self.tensors = {name: tensor.shape for name, tensor in self._tensors.items()}

    def damaged(self, problem: str) -> RunError:
        return RunError(f"{self.path} is damaged: {problem}")

    def _read(self, cursor: "Cursor", size: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if cursor.bytes(4) != MAGIC:
            raise RunError(f"{self.path} is no GGUF file: it does not begin with {MAGIC.decode()}")
        (version,) = cursor.take("I")
        if version not in (2, 3):
            raise RunError(f"{self.path} has GGUF version {version}, and versions 2 and 3 are read")
        n_tensors, n_keys = cursor.take("QQ")
        keys: dict[str, Any] = {}
        for _ in range(n_keys):
            name = cursor.string()
            if name in keys:
                raise self.damaged(f"the key {quoted(name)} is there twice")
            keys[name] = cursor.value(*cursor.take("I"))
        found = [self._tensor(cursor) for _ in range(n_tensors)]
        alignment = keys.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self.damaged(f"an alignment of {alignment!r:.40}")
        start = -(-cursor.at // alignment) * alignment
        tensors = {}
        for name, tensor in found:
            if name in tensors:
                raise self.damaged(f"tensor {quoted(name)} is there twice")
            tensors[name] = tensor._replace(begin=start + tensor.begin)
            if tensors[name].begin + tensor.row_bytes * rows_of(tensor.shape) > size:
                raise self.damaged(f"it ends within tensor {quoted(name)}")
        return keys, tensors

    def _tensor(self, cursor: "Cursor") -> tuple[str, Tensor]:
        name = cursor.string()
        (n_dimensions,) = cursor.take("I")
        if not 1 <= n_dimensions <= MOST_DIMENSIONS:
            raise self.damaged(f"tensor {quoted(name)} has {n_dimensions} axes")
        shape = cursor.take(f"{n_dimensions}Q")[::-1]
        code, begin = cursor.take("IQ")
        if not all(0 < n < 1 << 40 for n in shape):
            raise self.damaged(f"tensor {quoted(name)} has no proper shape")
        try:
            kind = self._gguf.GGMLQuantizationType(code)
            block, block_bytes = self._gguf.GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise RunError(f"{self.path}: tensor {quoted(name)} has type {code}, which gguf does not know") from None
        if shape[-1] % block:
            raise self.damaged(f"a row of tensor {quoted(name)} is no whole number of blocks")
        return name, Tensor(kind, shape, begin, shape[-1] // block * block_bytes)

    def __enter__(self) -> "GGUFFile":
        return self

    def __exit__(self, *error) -> None:
        self._stack.close()

    def shape(self) -> Shape:
        """The shape of the model. Raises RunError for an architecture, or a setting, that is not known here."""
        fields, architecture = config_of(self)
        shape = shape_of(fields, self.path)
        return Shape(shape.config, gguf_layout(shape.layout, architecture, shape.config), f"{architecture} in GGUF")

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises TokenizerFileError."""
        return tokenizer_of(self)

    def where(self, name: str) -> Path:
        return self.path

    def dtype(self, name: str) -> np.dtype:
        return np.dtype(np.float64 if self._tensors[name].kind.name == "F64" else np.float32)

    def pieces(self, name: str, whole: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows (n, ...)) of a tensor of up to two axes, dequantised."""
        kind, shape, begin, row_bytes = self._tensors[name]
        n_rows = rows_of(shape)
        step = n_rows if whole else max(1, PIECE // shape[-1])
        for start in range(0, n_rows, step):
            n = min(step, n_rows - start)
            raw = np.empty((n, row_bytes), np.uint8)
            with explained("read", self.path):
                self._file.seek(begin + start * row_bytes)
                if self._file.readinto(memoryview(raw.reshape(-1))) != raw.nbytes:
                    raise self.damaged("it ended while it was read")
            rows = self._floats(raw, kind, name)
            yield start, rows[0] if len(shape) == 1 else rows

    def _floats(self, raw: np.ndarray, kind, name: str) -> np.ndarray:
        plain = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}.get(kind.name)
        if plain:
            return raw.view(plain) if plain == "<f8" else raw.view(plain).astype(np.float32, copy=False)
        try:
            return self._gguf.dequantize(raw, kind)
        except NotImplementedError:
            problem = f"tensor {quoted(name)} has type {kind.name}, which the package gguf does not dequantise"
            raise RunError(f"{self.path}: {problem}") from None


def rows_of(shape: tuple[int, ...]) -> int:
    n = 1
    for length in shape[:-1]:
        n *= length
    return n


class Cursor:
    """Reads on from `at`. Raises struct.error at the end of the data, UnicodeDecodeError for a text that is none."""

    def __init__(self, data: mmap.mmap):
        self.data, self.at = data, 0

    def take(self, kinds: str) -> tuple:
        values = struct.unpack_from("<" + kinds, self.data, self.at)
        self.at += struct.calcsize("<" + kinds)
        return values

    def bytes(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise struct.error
        self.at += n
        return self.data[self.at - n : self.at]

    def string(self) -> str:
        return self.bytes(*self.take("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in SCALARS:
            return self.take(SCALARS[kind])[0]
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise struct.error
        inner, n = self.take("IQ")
        if inner in SCALARS:
            if n > len(self.data) - self.at:
                raise struct.error
            return list(self.take(f"{n}{SCALARS[inner]}"))
        if inner != STRING or n > (len(self.data) - self.at) // 8:
            raise struct.error
        return [self.string() for _ in range(n)]
