"""Decoding with a KV cache: prompts are read in one pass, then one token of every sequence at a time.

A position's keys and values depend only on the positions before it. So they are cached, and a new token costs one
position, not a whole context: its query meets the cached keys, its weights the cached values.

That holds until the context is full, after `block_size` tokens. Then the window slides.

With learned positions, vectors added at the bottom, every token moves to the position before its own, and with it all
keys and values change: the window is computed again for every token. That is the exact window: what a full forward over
the last `block_size` tokens gives, and what the model was trained on.

With RoPE scores depend on distances alone, so nothing that is cached changes: each position goes on attending to the
last `block_size` keys (a sliding window), at the cost of a token before. The keys of a layer were computed from what
lay in the windows of their own positions, so that text up to `n_layer` windows back has a part in them; a full forward
over the window does not see it. `exact_window` computes the window again here too.

Prompts of different lengths lie in the cache so that all end in the same slot: a shorter one begins in a later slot,
and keys before that are masked. With RoPE a sequence may begin at any position.
"""

from collections.abc import Sequence

import numpy as np

from gpt.model import GPT
from gpt.sampling.cached_layers import CachedGPT
from gpt.sampling.reading import ReadGPT

PREFILL = 512  # positions read at once: more make no product faster, and need more memory
ROOM = 256  # slots beyond the window, at most: when they are full, the window moves back to the front


class Decoder:
    """Gives the logits of what comes next in `batch_size` sequences side by side: `prefill` once, then `decode`.

    `tokens` counts those of the longest sequence so far. The model should be in evaluation mode; its weights may not
    change while the decoder is in use.
    """

    def __init__(self, model: GPT, batch_size: int = 1, exact_window: bool = False):
        self.model, self.batch_size, self.block_size = model, batch_size, model.config.block_size
        self.sliding = model.config.position == "rope" and not exact_window
        self.slots = self.block_size + (min(ROOM, -(-self.block_size // 2)) if self.sliding else 0)
        self.tokens = 0
        self._end = self._dropped = 0  # slots in use, and how many were dropped before them
        self._first = np.zeros(batch_size, dtype=np.int64)  # the slot in which each sequence begins
        self._ids = None if self.sliding else np.zeros((batch_size, self.block_size), dtype=np.int64)  # as in the slots
        form = ReadGPT if model.device.name == "numpy" else CachedGPT
        self._model = form(model, batch_size, self.slots)

    def prefill(self, prompts: Sequence[Sequence[int]]):  # B sequences of integers -> (B, V)
        """Read the sequences' beginnings, which may differ in length; the logits after each, lent until the next call.

        Raises ValueError for another number of prompts, an empty one, or an id outside the vocabulary, TypeError for
        ids that are no integers.
        """
        if self.tokens:
            raise ValueError("a decoder is prefilled once, before it decodes")
        prompts = [np.asarray(prompt) for prompt in prompts]
        if len(prompts) != self.batch_size or any(prompt.ndim != 1 or not prompt.size for prompt in prompts):
            shapes = ", ".join(str(prompt.shape) for prompt in prompts)
            raise ValueError(f"prompts must be {self.batch_size} sequences of at least one id, not of shapes {shapes}")
        for prompt in prompts:
            self.model.device.check_ids(prompt, below=self.model.config.vocab_size)
        self.tokens = max(map(len, prompts))
        if self._ids is not None:
            prompts = [prompt[-self.block_size :] for prompt in prompts]
            end = max(map(len, prompts))
            for row, prompt in zip(self._ids, prompts, strict=True):
                row[end - len(prompt) : end] = prompt
        return self._read(prompts)

    def decode(self, ids):  # (B, n) integers, or (B,) for one each -> (B, V)
        """Append ids to every sequence; the logits after the last, lent until the next call.

        Raises ValueError for ids of another shape or outside the vocabulary, TypeError for ids that are no integers.
        """
        ids = np.asarray(ids)
        ids = ids[:, None] if ids.ndim == 1 else ids
        if ids.ndim != 2 or len(ids) != self.batch_size or not ids.size:
            raise ValueError(f"ids must be ({self.batch_size}, n) with n at least 1, not {ids.shape}")
        if not self.tokens:
            return self.prefill(ids)
        self.model.device.check_ids(ids, below=self.model.config.vocab_size)
        n = ids.shape[1]
        self.tokens += n
        if self._ids is not None:
            if self._end + n > self.block_size:
                return self._read_window(ids)
            self._ids[:, self._end : self._end + n] = ids
        for column in ids.T:
            if self._end == self.slots:
                self._make_room(1)
            logits = self._model.step(column, self._end, self._dropped + self._end, self._first)
            self._end += 1
        return logits

    def _read_window(self, ids):  # (B, n) -> (B, V)
        """The window slides by n, and is read again."""
        shift = self._end + ids.shape[1] - self.block_size
        first = np.maximum(self._first - shift, 0)
        self._ids[...] = np.concatenate((self._ids[:, : self._end], ids), axis=1)[:, -self.block_size :]
        return self._read([row[start:] for row, start in zip(self._ids, first, strict=True)])

    def _read(self, prompts):  # B arrays of integers -> (B, V)
        """Fill the caches from the beginning with sequences that end in one slot. Equal ones are read once."""
        length = max(map(len, prompts))
        equal = {}
        for row, prompt in enumerate(prompts if self.batch_size > 1 else ()):
            equal.setdefault(prompt.astype(np.int64).tobytes(), []).append(row)
        if self.batch_size == 1:
            parts = [(slice(0, 1), prompts[0][None], 0)]
        elif len(equal) == len(prompts) and min(map(len, prompts)) == length:  # side by side
            parts = [(slice(0, len(prompts)), np.stack(prompts), 0)]
        else:
            rows = [rows[0] for rows in equal.values()]
            parts = [(slice(row, row + 1), prompts[row][None], length - len(prompts[row])) for row in rows]
        self._end = self._dropped = 0
        self._first = np.array([length - len(prompt) for prompt in prompts])
        logits = {}
        while self._dropped + self._end < length:
            start = self._dropped + self._end
            n = self._make_room(min(length - start, max(1, PREFILL // len(parts[0][1]))))
            for rows, ids, begin in parts:
                if begin < start + n:
                    slot, first = max(begin - self._dropped, self._end), max(begin - self._dropped, 0)
                    position = self._dropped + slot if self.model.wpe is None else slot - first
                    piece = ids[:, max(start - begin, 0) : start + n - begin]
                    logits[rows.start] = self._model.read(piece, rows, slot, position, first)
            self._end += n
        if parts[0][0].stop > 1 or self.batch_size == 1:
            return logits[0]
        return self._spread(equal.values(), logits)

    def _spread(self, equal, logits):
        """Copy what was read for the first of each group of rows to the others; the logits of all, (B, V)."""
        xp = self.model.device.xp
        source = {row: rows[0] for rows in equal for row in rows}
        for row, first in source.items():
            if row != first:
                self._model.copy(first, row, self._end)
        return xp.concatenate([logits[source[row]] for row in range(self.batch_size)])

    def _make_room(self, n: int) -> int:
        """Drop the oldest slots where n more do not fit; returns how many do now, at most n."""
        if self._end + n > self.slots and self._end:
            shift = self._end - min(self._end, self.block_size - 1)
            if shift:
                self._model.drop(shift, self._end)
                self._end, self._dropped = self._end - shift, self._dropped + shift
                self._first = np.maximum(self._first - shift, 0)
        return min(n, self.slots - self._end)
