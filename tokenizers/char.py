"""One id a character, in the order of the code points.

    train("hello")            the alphabet is "ehlo"
    encode("hole")            [1, 3, 2, 0]

Nothing is simpler, nothing is hidden, and for a small model on a small English text little is better: 65 ids
for all of Shakespeare. The price is that sequences are long, that a Chinese alphabet has thousands of ids,
and that a character which the corpus never showed has none: it cannot be written, and `encode` says so.
"""

import unicodedata
from collections.abc import Iterable

from .base import Tokenizer, TokenizerError, TokenizerFileError, check_text, pieces_of_text, sha256
from .files import HEADER, check_fields, check_hash, read_header, write_header

MOST_CHARACTERS = 200_000  # more than Unicode has given meaning to


class CharTokenizer(Tokenizer):
    """Lossless for the characters it was made of."""

    kind = "char"

    def __init__(self, characters: str):
        """`characters`: the alphabet, each once, in any order. Raises TokenizerError."""
        check_text(characters)
        if not characters:
            raise TokenizerError("there is no text to make a char tokenizer of: the corpus is empty")
        if len(set(characters)) > MOST_CHARACTERS:
            raise TokenizerError(
                f"the corpus has {len(set(characters)):,} distinct characters, and a char tokenizer takes at most"
                f" {MOST_CHARACTERS:,}; use --tokenizer bpe"
            )
        self.characters = "".join(sorted(set(characters)))
        self.ids = {character: i for i, character in enumerate(self.characters)}
        self.table = [character.encode("utf-8") for character in self.characters]
        self.fingerprint = sha256(b"char 1\n" + self.characters.encode("utf-8"))

    @classmethod
    def train(cls, text: str | Iterable[str]) -> "CharTokenizer":
        """The alphabet of a corpus, given whole or as an iterable of chunks. Raises TokenizerError."""
        alphabet = set()
        for chunk in pieces_of_text(text):
            alphabet.update(chunk)
        return cls("".join(alphabet))

    def encode(self, text: str) -> list[int]:
        """One id a character. Raises TokenizerError that names the first unknown character."""
        try:
            return list(map(self.ids.__getitem__, text))
        except KeyError as error:
            unknown = error.args[0]
        check_text(text)
        name = unicodedata.name(unknown, "")
        raise TokenizerError(
            f"the character {unknown!r} (U+{ord(unknown):04X}{', ' + name if name else ''}) at position"
            f" {text.index(unknown)} is not among the {self.vocab_size} that this char tokenizer knows;"
            " leave it out, or train with --tokenizer bpe, which can write anything"
        )

    def save(self, folder) -> None:
        """Writes tokenizer.json into the folder. Raises OSError."""
        digest = sha256(self.characters.encode("utf-8"))
        write_header(folder, kind="char", vocab_size=self.vocab_size, sha256=digest, characters=self.characters)

    @classmethod
    def load(cls, folder) -> "CharTokenizer":
        """The tokenizer saved in a folder. Raises TokenizerFileError."""
        return cls.from_header(folder, read_header(folder))

    @classmethod
    def from_header(cls, folder, header: dict) -> "CharTokenizer":
        check_fields(folder, header, "char", characters=str)
        characters = header["characters"]
        try:
            tokenizer = cls(characters)
        except TokenizerError as error:
            raise TokenizerFileError.about(folder, HEADER, f"is damaged: {error}") from None
        check_hash(folder, HEADER, characters.encode("utf-8"), header["sha256"])
        if tokenizer.characters != characters or tokenizer.vocab_size != header["vocab_size"]:
            problem = "is damaged: its characters are not sorted and distinct, or not as many as it says"
            raise TokenizerFileError.about(folder, HEADER, problem)
        return tokenizer
