"""Byte-level BPE, as GPT-2 and most models after it have it: a given vocabulary, merged by `tiktoken`.

A text is cut into words by a regular expression (the *pattern*), and each word's bytes are merged, the earliest merge
of the list first, until no neighbours are left that a merge joins. The files write bytes as printable letters: those
that are printable in Latin-1 as themselves, the others as U+0100 and up, so that a space is Ġ.

    vocab     {"the": 262, "Ġthe": 264, ...}             merges     [("t", "h"), ("th", "e"), ...]

`tiktoken` needs a rank for every token rather than the pairs: a token's rank is when its merge comes. Where ids follow
the merges, as in nearly all vocabularies, rank and id are the same number.

Special tokens stand for what is no text: where a document ends, whose turn in a conversation begins. Writing their
names does not make them: `encode("<|im_start|>")` is those twelve characters, and decoding gives them back. Their ids
are in `special`.

Some vocabularies lack single bytes that their training text never had. `encode` raises for a text with such a byte,
where others drop it without a word.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from .base import Tokenizer, TokenizerError, TokenizerFileError, check_text, sha256
from .files import check_fields, check_hash, read_file, read_header, write_file, write_header

TOKENS = "tokenizer.bpe.json"
TOKENS_BYTES = 64 << 20  # at most
LONGEST_SPACE = 20_000  # characters; a pattern that looks ahead runs out of stack in longer ones

# What a text is cut with. GPT-2's, SmolLM's (its digits are cut first, each by itself), Llama 3's and Qwen's.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "smollm": r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+",
    "llama3": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST,
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST,
}


def letters() -> dict[int, str]:
    """{byte: the letter that stands for it in the files}."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


LETTERS = letters()
BYTES = {ord(letter): byte for byte, letter in LETTERS.items()}  # for str.translate


def to_bytes(token: str) -> bytes:
    """The bytes that a token's letters stand for. Raises ValueError for a letter that stands for none."""
    return token.translate(BYTES).encode("latin-1")


def to_letters(data: bytes) -> str:
    return "".join(LETTERS[byte] for byte in data)


class ByteLevelTokenizer(Tokenizer):
    """`vocab` {token: id} and `merges` [(left, right)] as the files have them; `special` {name: id} beside them.

    pattern: a name in PATTERNS. nfc: composed characters are put together first, which then stay so. bos: the id that a
    text starts with; ends: the ids that end one. size: how many ids the model has, where that is more than are used.
    Raises TokenizerError for merges that do not fit the vocabulary, ModuleNotFoundError without tiktoken.
    """

    kind = "byte_level"

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Sequence[tuple[str, str]],
        pattern: str,
        *,
        special: dict[str, int] | None = None,
        nfc: bool = False,
        bos: int | None = None,
        ends: Sequence[int] = (),
        size: int | None = None,
    ):
        self.special = dict(special or {})
        self.vocab = {token: i for token, i in vocab.items() if token not in self.special}
        self.merges, self.pattern, self.nfc = merges, pattern, nfc
        ids = [*self.vocab.values(), *self.special.values()]
        self.size = max(ids, default=-1) + 1 if size is None else size
        self.bos, self.ends = bos, frozenset(ends)
        check_ids(ids, self.size, (*self.ends, *([] if bos is None else [bos])))
        self.table = [b""] * self.size
        for name, i in self.special.items():
            self.table[i] = name.encode("utf-8")
        ranked = ranked_ids(self.vocab, merges)
        for token, i in self.vocab.items():
            try:
                self.table[i] = to_bytes(token)
            except ValueError:
                raise TokenizerError(f"its token {token!a:.60} is no bytes of byte-level BPE") from None
        self._ids = None if ranked == sorted(ranked) else ranked  # of each rank, where they are not the same
        ranks = {self.table[i]: rank if self._ids else i for rank, i in enumerate(ranked)}
        self.missing = bytes(byte for byte in range(256) if bytes([byte]) not in ranks)
        self.encoding = encoding_of(PATTERNS[pattern], ranks)
        self.fingerprint = sha256(b"byte_level 1\n" + self._text())

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none is special. TokenizerError for a byte that has no token, or a lone surrogate."""
        check_text(text)
        if self.nfc:
            text = unicodedata.normalize("NFC", text)
        if self.missing:
            self._check_bytes(text)
        ids = []
        for part in cut_spaces(text):
            ids += self.encoding.encode_ordinary(part)
        return ids if self._ids is None else list(map(self._ids.__getitem__, ids))

    def _check_bytes(self, text: str) -> None:
        data = text.encode("utf-8")
        if len(data.translate(None, self.missing)) == len(data):
            return
        for position, character in enumerate(text):
            for byte in character.encode("utf-8"):
                if byte in self.missing:
                    raise TokenizerError(
                        f"the byte 0x{byte:02x} of the character {character!a} (U+{ord(character):04X}) at position "
                        f"{position} has no token in this vocabulary; leave it out"
                    )

    def _text(self) -> bytes:
        fields = {
            "pattern": self.pattern,
            "nfc": self.nfc,
            "bos": self.bos,
            "ends": sorted(self.ends),
            "special": self.special,
            "vocab": self.vocab,
            "merges": [" ".join(pair) for pair in self.merges],
        }
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")

    def save(self, folder) -> None:
        """Writes tokenizer.bpe.json and tokenizer.json into the folder. Raises OSError."""
        text = self._text()
        write_file(folder, TOKENS, text)
        write_header(folder, kind=self.kind, vocab_size=self.vocab_size, bytes=len(text), sha256=sha256(text))

    @classmethod
    def load(cls, folder) -> "ByteLevelTokenizer":
        """The tokenizer saved in a folder. Raises TokenizerFileError."""
        return cls.from_header(folder, read_header(folder))

    @classmethod
    def from_header(cls, folder, header: dict) -> "ByteLevelTokenizer":
        check_fields(folder, header, cls.kind, bytes=int)
        text = read_file(folder, TOKENS, TOKENS_BYTES, exactly=header["bytes"])
        check_hash(folder, TOKENS, text, header["sha256"])
        try:
            found = json.loads(text)
            merges = [tuple(pair.split(" ")) for pair in found.pop("merges")]
            return cls(found.pop("vocab"), merges, found.pop("pattern"), size=header["vocab_size"], **found)
        except TokenizerError as error:
            raise TokenizerFileError(f"{Path(folder) / TOKENS}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TokenizerFileError.about(folder, TOKENS, "is damaged: it is not what was written") from None


def check_ids(ids: list, size: int, named: tuple) -> None:
    if not ids or not all(type(i) is int and i >= 0 for i in (*ids, *named)):
        raise TokenizerError("its ids are not whole numbers from 0 on")
    if len(set(ids)) != len(ids):
        raise TokenizerError("two of its tokens have one id")
    if max(*ids, *named) >= size:
        raise TokenizerError(f"it has a token with the id {max(*ids, *named)}, and the model only {size} ids")


def ranked_ids(vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> list[int]:
    """The ids of what encoding can yield, in the order of ranks: single bytes, then what each merge makes.

    Raises TokenizerError for a merge of, or into, what is not in the vocabulary.
    """
    ranked = sorted(vocab[letter] for letter in LETTERS.values() if letter in vocab)
    seen = set(ranked)
    for number, pair in enumerate(merges):
        if len(pair) != 2:
            raise TokenizerError(f"its merge {number + 1} is not of two tokens")
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                raise TokenizerError(
                    f"its merges do not fit its vocabulary: merge {number + 1} needs the token {token!a:.60}, which is "
                    "not there"
                )
        made = vocab["".join(pair)]
        if made not in seen:  # else another pair makes it too; the first counts
            seen.add(made)
            ranked.append(made)
    return ranked


def encoding_of(pattern: str, ranks: dict[bytes, int]):
    try:
        import tiktoken
    except ModuleNotFoundError as error:
        raise TokenizerError(
            'this tokenizer needs the package tiktoken: pip install "nanograd[hub]", or pip install tiktoken'
        ) from error
    return tiktoken.Encoding("byte_level", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def cut_spaces(text: str) -> list[str]:
    """The text in parts, none with more than LONGEST_SPACE spaces in a row."""
    if len(text) <= LONGEST_SPACE:
        return [text]
    cuts = [match.end() for match in re.finditer(rf"\s{{{LONGEST_SPACE}}}", text)]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
