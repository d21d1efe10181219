"""A sentencepiece model of another project, as early Llamas and Mistrals have it, encoded by `sentencepiece` itself.

`bpe` is ours: it knows just the models that are trained here, and keeps every text to the byte. A model of another
project may put a space in front of a text, normalise it, and write a real ▁ as a space; ids are then as it says, and
decoding takes the space in front away again. Control pieces (<s>, </s>) are special: no text makes them. A character
that has neither a piece nor bytes to fall back to is an error, where sentencepiece would write <unk>.

`proto` writes such a model from its pieces, for formats that hold these alone (a GGUF file).
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from .base import Tokenizer, TokenizerError, TokenizerFileError, check_text, sha256
from .bpe_model import BYTE, BYTES, NORMAL, SPACE_SIGN, UNKNOWN, fields
from .files import check_fields, check_hash, read_file, read_header, write_file, write_header

MODEL = "tokenizer.model"
MODEL_BYTES = 64 << 20  # at most
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5  # types of pieces beside those of bpe_model
PREFIX_SETTING = (3, 3)  # normaliser: put a space in front


class SentencePieceTokenizer(Tokenizer):
    """`model`: the bytes of a tokenizer.model. bos: the id that a text starts with; ends: those that end one; size: how
    many ids the model has, where that is more than there are pieces. Raises TokenizerError."""

    kind = "sentencepiece"

    def __init__(self, model: bytes, bos: int | None = None, ends: Sequence[int] = (), size: int | None = None):
        from sentencepiece import SentencePieceProcessor

        self.model, self.bos, self.ends = model, bos, frozenset(ends)
        try:
            self.table, self.special, self._prefix = read_model(model)
            self.processor = SentencePieceProcessor(model_proto=model)
        except (ValueError, RuntimeError, struct.error) as error:
            raise TokenizerError(f"this is no model of sentencepiece: {error}".partition("\n")[0][:200]) from None
        if not self.table:
            raise TokenizerError("this is no model of sentencepiece: it has no pieces")
        size = len(self.table) if size is None else size
        if len(self.table) > size or self.processor.get_piece_size() != len(self.table):
            raise TokenizerError(f"it has {len(self.table)} pieces, and the model {size} ids")
        if any(not 0 <= i < size for i in (*self.ends, *([] if bos is None else [bos]))):
            raise TokenizerError("the ids that start and end a text are not in it")
        self.table += [b""] * (size - len(self.table))
        about = f"sentencepiece 1\n{size} {bos} {sorted(self.ends)}\n"
        self.fingerprint = sha256(about.encode() + model)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none is special. Raises TokenizerError for a character that has none."""
        check_text(text)
        ids = self.processor.encode(text)
        unknown = self.processor.unk_id()
        if unknown in ids:
            character = next((c for c in text if unknown in self.processor.encode(c)), "")
            name = f"{character!a} (U+{ord(character):04X})" if character else "a character"
            raise TokenizerError(f"the vocabulary has no token for {name} of the text, nor for its bytes; leave it out")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        text = super().decode(ids)
        return text.removeprefix(" ") if self._prefix else text

    def save(self, folder) -> None:
        """Writes tokenizer.model and tokenizer.json into the folder. Raises OSError."""
        write_file(folder, MODEL, self.model)
        more = {"bos": -1 if self.bos is None else self.bos, "ends": " ".join(map(str, sorted(self.ends)))}
        sums = {"bytes": len(self.model), "sha256": sha256(self.model)}
        write_header(folder, kind=self.kind, vocab_size=self.vocab_size, **sums, **more)

    @classmethod
    def load(cls, folder) -> "SentencePieceTokenizer":
        """The tokenizer saved in a folder. Raises TokenizerFileError."""
        return cls.from_header(folder, read_header(folder))

    @classmethod
    def from_header(cls, folder, header: dict) -> "SentencePieceTokenizer":
        check_fields(folder, header, cls.kind, bytes=int, bos=int, ends=str)
        model = read_file(folder, MODEL, MODEL_BYTES, exactly=header["bytes"])
        check_hash(folder, MODEL, model, header["sha256"])
        try:
            ends = [int(i) for i in header["ends"].split()]
            return cls(model, None if header["bos"] < 0 else header["bos"], ends, header["vocab_size"])
        except (TokenizerError, ValueError) as error:
            raise TokenizerFileError(f"{Path(folder) / MODEL}: {error}") from None


def read_model(model: bytes) -> tuple[list[bytes], dict[str, int], bool]:
    """(the bytes of every piece, {special piece: id}, whether a space is put in front of a text)."""
    table, special, settings = [], {}, {}
    for number, wire, value in fields(model):
        if number == 1 and wire == BYTES:
            piece = {inner: v for inner, _, v in fields(value)}
            text, kind = piece[1].decode("utf-8"), piece.get(3, NORMAL)
            if kind == BYTE:
                table.append(bytes([int(text[3:5], 16)]))
            elif kind in (NORMAL, USER_DEFINED):
                table.append(text.replace(SPACE_SIGN, " ").encode("utf-8"))
            else:
                special[text] = len(table)
                table.append(b"" if kind in (UNKNOWN, UNUSED) else text.encode("utf-8"))
        elif wire == BYTES:
            settings |= {(number, inner): v for inner, _, v in fields(value)}
    return table, special, bool(settings.get(PREFIX_SETTING, 1))


def proto(pieces: Iterable[tuple[str, float, int]], ids: dict[str, int], prefix: bool) -> bytes:
    """A model of BPE with these pieces (text, score, type); `ids`: those of "unk", "bos", "eos", "pad", -1 for none.

    `prefix` puts a space in front of a text. Nothing is normalised, and what has no piece falls back to bytes.
    """
    out = bytearray()
    for text, score, kind in pieces:
        out += message(1, text_field(1, text) + b"\x15" + struct.pack("<f", score) + number_field(3, kind))
    trainer = number_field(3, 2) + number_field(35, 1)  # BPE, with byte fallback
    for field, name in ((40, "unk"), (41, "bos"), (42, "eos"), (43, "pad")):
        trainer += number_field(field, ids.get(name, -1) % (1 << 64))
    settings = text_field(1, "identity") + number_field(3, int(prefix)) + number_field(4, 0) + number_field(5, 1)
    return bytes(out) + message(2, trainer) + message(3, settings)


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, data: bytes) -> bytes:
    return varint(field << 3 | BYTES) + varint(len(data)) + data


def text_field(field: int, text: str) -> bytes:
    return message(field, text.encode("utf-8"))
