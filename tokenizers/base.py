"""What every tokenizer is: a table of byte strings.

Token `i` stands for the bytes `token_bytes(i)`, and a text is the bytes of its tokens, one after the other,
read as UTF-8. That one rule is the whole of decoding, for every kind. Kinds differ in how they cut a text.

It also makes chunks safe. However a corpus is cut before it is encoded, the bytes add up again:

    decode(encode(a) + encode(b)) == a + b

though `encode(a + b)` may well hold other ids, if a token spans the cut.

A model is free to write tokens whose bytes are no UTF-8: half of a Chinese character, say. Those decode to
U+FFFD, the replacement character. Text that goes in is never so: Python strings may hold lone surrogates
(U+D800 to U+DFFF), which are no characters and have no UTF-8; `encode` and `train` refuse them by position.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from pathlib import Path


class TokenizerError(ValueError):
    """A request that cannot be met: an unknown character, a vocabulary too large for its corpus."""


class TokenizerFileError(TokenizerError):
    """A tokenizer's file that is missing, damaged, or not what it claims to be."""

    @classmethod
    def about(cls, folder, name, problem):
        return cls(f"{Path(folder) / name} {problem}")


class Tokenizer:
    """What the kinds share. Each adds `train`, `encode`, `save` and `load`, and sets `table` and `fingerprint`."""

    kind = ""  # "char" or "bpe"
    table: list[bytes]  # the bytes of every token
    bos: int | None = None  # the id that a text starts with, where the tokenizer has one
    ends: frozenset[int] = frozenset()  # the ids that say that a text has ended
    fingerprint: str  # hex; equal fingerprints encode alike, so a cache of ids can be named by it

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    def token_bytes(self, token: int) -> bytes:
        """The bytes token stands for; several tokens may be needed for one character. Raises TokenizerError."""
        token = operator.index(token)
        if not 0 <= token < len(self.table):
            raise TokenizerError(f"token id {token} is not in the vocabulary: ids go from 0 to {self.vocab_size - 1}")
        return self.table[token]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; bytes that are no UTF-8 become U+FFFD. Raises TokenizerError."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def __repr__(self):
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


def pieces_of_text(text: str | Iterable[str]) -> Iterator[str]:
    """A corpus as chunks, whether it came as one string or as an iterable of strings.

    Raises TokenizerError for a lone surrogate, with its position in the whole corpus.
    """
    start = 0
    for chunk in [text] if isinstance(text, str) else text:
        check_text(chunk, start)
        start += len(chunk)
        yield chunk


def check_text(text: str, start: int = 0) -> None:
    """Raises TokenizerError for anything but a string, and for a string with a lone surrogate in it."""
    if not isinstance(text, str):
        raise TokenizerError(f"a tokenizer reads text (str), not {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code, position = ord(text[error.start]), start + error.start
        raise TokenizerError(
            f"the text holds a lone surrogate (U+{code:04X}) at position {position}: half of a character that was"
            " decoded wrongly; read the text again with the encoding it was written in"
        ) from None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
