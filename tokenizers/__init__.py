"""Text to ids and back.

    tokenizer = BPETokenizer.train(text)        # or CharTokenizer.train(text)
    ids = tokenizer.encode("Once upon a time")  # a list of ints
    tokenizer.decode(ids)                       # "Once upon a time", exactly
    tokenizer.save(folder)
    load_tokenizer(folder)                      # the folder is all it needs

This package knows nothing of arrays or models. Read `base`, then `char`, then `bpe`; `streaming` prints the
tokens of a model as they come.

It shares its name with Hugging Face's `tokenizers`, which it neither uses nor replaces: run from this
repository's root, this one is found first.
"""

from tokenizers.base import Tokenizer, TokenizerError, TokenizerFileError
from tokenizers.bpe import BPETokenizer
from tokenizers.char import CharTokenizer
from tokenizers.files import HEADER, read_header
from tokenizers.streaming import StreamDecoder

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerError",
    "TokenizerFileError",
    "load_tokenizer",
]

KINDS = {kind.kind: kind for kind in (CharTokenizer, BPETokenizer)}


def load_tokenizer(folder):
    """The tokenizer that was saved in `folder`, of whichever kind. Raises TokenizerFileError."""
    header = read_header(folder)
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise TokenizerFileError.about(folder, HEADER, f"is of no known kind: {kind!r}"[:80])
    return KINDS[kind].from_header(folder, header)
