"""How a token is shown to a person: one line, nothing invisible."""

import unicodedata

SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥"}
LONGEST = 14  # characters; a longer token is cut


def token_label(tokenizer, token: int) -> str:
    """The text of a token with spaces as ␣ and line breaks as ⏎; bytes that are no character as <E4>.

    >>> from gpt.tokenizers import CharTokenizer
    >>> tokenizer = CharTokenizer.train("a b")
    >>> [token_label(tokenizer, token) for token in tokenizer.encode("a b")]
    ['a', '␣', 'b']
    """
    return text_label(tokenizer.token_bytes(token).decode("utf-8", errors="surrogateescape"))


def text_label(text: str) -> str:
    """The same for a text; lone surrogates stand for the bytes 80 to FF, as `surrogateescape` decodes them."""
    label = "".join(map(_sign, text))
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def _sign(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":
        return f"<{ord(letter) - 0xDC00:02X}>"
    if letter in SIGNS:
        return SIGNS[letter]
    # Control characters, marks that change their neighbours' direction, unassigned and private ones: no sign of
    # their own. A mark that is put over a letter gets a circle to stand on.
    category = unicodedata.category(letter)
    if category[0] in "CZ":
        return f"<U+{ord(letter):04X}>"
    return f"◌{letter}" if category == "Mn" else letter
