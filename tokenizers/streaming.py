"""Printing a model's tokens as they come.

A token is bytes, and a character may take several: 好 is E5 A5 BD, which a BPE vocabulary that lacks it spells
with three tokens. Print each by itself and a reader sees three replacement characters. So the bytes of an
unfinished character wait until it is finished, or until it can no longer be one:

    E5 A5 ..   may become 好: wait
    E5 A5 41   can become nothing: U+FFFD, then "A"

All the text together equals `tokenizer.decode` of all the ids together, whatever the steps it came in.
"""

import codecs
from collections.abc import Iterable


class StreamDecoder:
    """Turns ids into text that is never half a character; `tokenizer` is anything with `token_bytes(id)`."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def pending(self) -> bytes:
        """The bytes that wait: at most three."""
        return self.decoder.getstate()[0]

    def feed(self, ids: int | Iterable[int]) -> str:
        """The text that one id, or several, complete; perhaps none. Raises TokenizerError for an unknown id."""
        ids = ids if isinstance(ids, Iterable) else [ids]
        return self.decoder.decode(b"".join(map(self.tokenizer.token_bytes, ids)))

    def flush(self) -> str:
        """The end of the stream: U+FFFD if a character was left unfinished, else nothing. It may then start anew."""
        text = self.decoder.decode(b"", final=True)
        self.decoder.reset()
        return text
