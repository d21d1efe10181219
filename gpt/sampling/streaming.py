"""From tokens to text: what one sample has said so far, letter by letter as it becomes certain.

Two things hold letters back. A token may end inside a character: its bytes wait until the character is whole
(`tokenizers.streaming`). And a letter that may be the beginning of a stop string waits until it is not
(`gpt.sampling.stop_strings`). What has come out is never taken back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gpt.sampling.stop_strings import StopFinder
from gpt.tokenizers import StreamDecoder, TokenizerError


class Completion:
    """One sample as text. `add` its tokens one by one, then `finish`.

    `text` is all that has come out: the continuation without the prompt, cut before the first stop string.
    `tokens` are all that were added, those of the stop string included. `finish_reason` is None while it may go
    on, then "stop" (a stop string came), "length" (as long as was asked for) or "interrupted".
    The first `given` characters belong to the prompt and are left out. Raises UsageError for an empty stop string.
    """

    def __init__(self, tokenizer, stop: Sequence[str] = (), given: int = 0):
        self.tokens = []
        self.finish_reason = None
        self._pieces = []
        self._decoder = StreamDecoder(tokenizer)
        self._stops = StopFinder(stop)
        self._given = given

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def add(self, token) -> str:
        """Take in one `gpt.sampling.Token`; the text that it makes certain."""
        self.tokens.append(token)
        if token.id in getattr(self._decoder.tokenizer, "ends", ()):  # the model says that its text has ended
            return self.finish("stop")
        text = self._decoder.feed(token.id)
        new = text[self._given :]
        self._given -= len(text) - len(new)
        return self._out(self._stops.feed(new))

    def finish(self, reason: str) -> str:
        """No more tokens will come: the text that was held back. Nothing for one that has finished already.

        The bytes of a character that the last token left unfinished are no text, and are dropped.
        """
        if self.finish_reason:
            return ""
        self.finish_reason = reason
        return self._out(self._stops.flush())

    def _out(self, text: str) -> str:
        self._pieces.append(text)
        if self._stops.stopped:
            self.finish_reason = "stop"
        return text


def complete(
    generation: Iterable, completions: Sequence[Completion], show: Callable[[int, str], None] | None = None
) -> None:
    """Run a `gpt.sampling.Generation` to its end, each sample into its completion.

    `show(i, text)` is called with every piece of text of sample i as it becomes certain. Ctrl-C ends it early:
    the completions then hold what was made, and their `finish_reason` says "interrupted".
    """
    show = show or (lambda i, text: None)
    reason = "length"
    try:
        for step in generation:
            for i, token in enumerate(step):
                if token is None:
                    continue
                show(i, completions[i].add(token))
                if completions[i].finish_reason:
                    generation.finish(i)
    except KeyboardInterrupt:
        reason = "interrupted"
    for i, completion in enumerate(completions):
        show(i, completion.finish(reason))


class Start(NamedTuple):
    """What a sample goes on from: `ids`, the tokens that may come `first` (V,) bool (None: all), and how many
    characters at the beginning of these are the prompt's own."""

    ids: list[int]
    first: np.ndarray | None = None
    given: int = 0


def start_of(tokenizer, prompt: str) -> Start:
    """How to go on with a prompt, with the space at its end held back.

    A tokenizer of pieces has " rabbit" with its space. After the lone space of the prompt "there was a " a model has
    hardly ever seen a word begin, and goes on in the middle of one. So the space is taken back, and the first token
    is chosen among those that begin with it. Where no longer piece does, all ids of the prompt stay.

    Raises TokenizerError for a character that the tokenizer does not know.
    """
    ids = start_ids(tokenizer, prompt)
    space = tokenizer.token_bytes(ids[-1])
    if not prompt or len(ids) < 2 or space.strip():
        return Start(ids)
    table = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
    first = np.array([piece.startswith(space) for piece in table])  # (V,)
    if not any(may and piece.strip() for may, piece in zip(first, table, strict=True)):
        return Start(ids)
    return Start(ids[:-1], first, len(space))


def start_ids(tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt, behind the token that a text starts with if the tokenizer has one.

    An empty prompt starts there, or after an empty line, or from token 0 where there are no line breaks.

    Raises TokenizerError for a character that the tokenizer does not know.
    """
    bos = getattr(tokenizer, "bos", None)
    start = [] if bos is None else [bos]
    if prompt or start:
        return start + tokenizer.encode(prompt)
    try:
        return tokenizer.encode("\n\n")
    except TokenizerError:
        return [0]
