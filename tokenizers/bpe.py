"""Byte-pair encoding with byte fallback: frequent words are one token, and anything at all can be written.

A vocabulary is the unknown piece (id 0, which sentencepiece insists on and `encode` never yields), the 256 bytes (ids
1 to 256), and pieces learned from the corpus: its frequent characters, and what frequent neighbours merged into.
`bpe_training` tells how. A character that has no piece is written as the bytes of its UTF-8, one token each; that is
the fallback, and why no text is ever refused.

    "the 龘"   might become   "the"  " "  <0xE9> <0xBE> <0x98>

What comes out is what went in, to the byte: nothing is normalised, added in front, stripped or collapsed, and line
ends, tabs, NULs and text that looks like a special token are text like any other. One character needs care.
sentencepiece writes spaces as U+2581 (▁), and could not tell a real one from a space. So `encode` cuts the text at
every ▁ and writes its three bytes, by their tokens, itself; and as decoding is `base`'s sum of bytes, where a piece's
▁ is a space and the three bytes are a ▁, both come back as they were.

Long texts are cut into slices of 2000 characters, where a line or a word ends if there is one: no piece spans that
place, so the ids are the same, and sentencepiece is three times as fast as with a megabyte at once.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from .base import Tokenizer, TokenizerError, TokenizerFileError, check_text, sha256
from .bpe_model import SPACE_SIGN, read_pieces
from .bpe_training import train_model
from .files import (
    HEADER,
    check_fields,
    check_hash,
    read_file,
    read_header,
    write_file,
    write_header,
)

MODEL = "tokenizer.model"
MODEL_BYTES = 8 << 20  # at most
SLICE = 2000  # characters
SPACE_SIGN_IDS = [1 + byte for byte in SPACE_SIGN.encode("utf-8")]


class BPETokenizer(Tokenizer):
    """Lossless for every Unicode string."""

    kind = "bpe"

    def __init__(self, model: bytes):
        """`model`: the bytes of a tokenizer.model of this project. Raises TokenizerError."""
        from sentencepiece import SentencePieceProcessor  # here: it need not be loaded to show --help

        try:
            self.table = read_pieces(model)
            self.processor = SentencePieceProcessor(model_proto=model)
        except (ValueError, RuntimeError) as error:
            raise TokenizerError(f"this is no model of ours: {error}".partition("\n")[0][:200]) from None
        self.model = model
        self.fingerprint = sha256(b"bpe 1\n" + model)

    @classmethod
    def train(cls, text: str | Iterable[str], vocab_size: int | None = None) -> "BPETokenizer":
        """Learns from a corpus, given whole or as an iterable of chunks, which is read once.

        Without vocab_size one is chosen that suits the corpus; `.vocab_size` tells it. The same corpus gives the same
        tokenizer. Raises TokenizerError, with a size that works, if the corpus has too little to fill vocab_size.
        """
        return cls(train_model(text, vocab_size))

    def encode(self, text: str) -> list[int]:
        """The ids of any text. Raises TokenizerError for a lone surrogate, which is no text."""
        check_text(text)
        ids = []
        for n, part in enumerate(text.split(SPACE_SIGN)):
            if n > 0:
                ids += SPACE_SIGN_IDS
            for piece in slices(part):
                ids += self.processor.encode(piece)
        return ids

    def save(self, folder) -> None:
        """Writes tokenizer.model and tokenizer.json into the folder. Raises OSError."""
        write_file(folder, MODEL, self.model)
        write_header(folder, kind="bpe", vocab_size=self.vocab_size, bytes=len(self.model), sha256=sha256(self.model))

    @classmethod
    def load(cls, folder) -> "BPETokenizer":
        """The tokenizer saved in a folder. Raises TokenizerFileError."""
        return cls.from_header(folder, read_header(folder))

    @classmethod
    def from_header(cls, folder, header: dict) -> "BPETokenizer":
        check_fields(folder, header, "bpe", bytes=int)
        model = read_file(folder, MODEL, MODEL_BYTES, exactly=header["bytes"])
        check_hash(folder, MODEL, model, header["sha256"])
        try:
            tokenizer = cls(model)
        except TokenizerError as error:
            raise TokenizerFileError(f"{Path(folder) / MODEL}: {error}") from None
        if tokenizer.vocab_size != header["vocab_size"]:
            problem = f"says {header['vocab_size']} tokens, and {MODEL} has {tokenizer.vocab_size}"
            raise TokenizerFileError.about(folder, HEADER, problem)
        return tokenizer


def slices(text: str) -> Iterator[str]:
    """A text in slices of at most SLICE characters, cut behind a line end or before a space if there is one."""
    start = 0
    while len(text) - start > SLICE:
        end = start + SLICE
        at = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end)
        if at > start:
            end = at
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
