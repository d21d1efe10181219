"""Text to ids and back.

    tokenizer = BPETokenizer.train(text)        # or CharTokenizer.train(text)
    ids = tokenizer.encode("Once upon a time")  # a list of ints
    tokenizer.decode(ids)                       # "Once upon a time", exactly
    tokenizer.save(folder)
    load_tokenizer(folder)                      # the folder is all it needs

This package knows nothing of arrays or models. Read `base`, then `char`, then `bpe`; `streaming` prints the
tokens of a model as they come.

The folder's name is also that of Hugging Face's package, which this one neither uses nor replaces. So the program calls
it `gpt.tokenizers`: gpt/__init__.py finds it there in a checkout, and an installed package has it there. Inside the
repository's root `tokenizers` means the same modules, unless a package as `transformers` imports it (namesake.py).
"""

import sys

if __name__ == "tokenizers":  # by the folder's name, in a checkout: another module takes the place of this one
    from .namesake import chosen

    sys.modules[__name__] = chosen()
else:
    from .base import Tokenizer, TokenizerError, TokenizerFileError
    from .bpe import BPETokenizer
    from .byte_level import ByteLevelTokenizer
    from .char import CharTokenizer
    from .files import HEADER, read_header
    from .sentencepiece_file import SentencePieceTokenizer
    from .streaming import StreamDecoder

    KINDS = {kind.kind: kind for kind in (CharTokenizer, BPETokenizer, ByteLevelTokenizer, SentencePieceTokenizer)}

__all__ = [
    "BPETokenizer",
    "ByteLevelTokenizer",
    "CharTokenizer",
    "SentencePieceTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerError",
    "TokenizerFileError",
    "load_tokenizer",
]


def load_tokenizer(folder):
    """The tokenizer that was saved in `folder`, of whichever kind. Raises TokenizerFileError."""
    header = read_header(folder)
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise TokenizerFileError.about(folder, HEADER, f"is of no known kind: {kind!r}"[:80])
    return KINDS[kind].from_header(folder, header)
