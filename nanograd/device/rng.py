"""Random numbers for dropout that belong to a sample, not to a process.

The masks of one training step are a function of (seed, step, global index of the sample) and of nothing else.
Each sample has a stream of its own: Philox, a counter-based generator (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), with (seed, step) as its key and the sample in the top word of its counter. So
one thread or eight, one rank or four, a run resumed or never stopped: all draw the same masks, and there is
no random state to save.
"""

import numpy as np


def keep_rule(p: float) -> tuple[int, float]:
    """(k, scale): an element is kept if its 16 random bits are below k, and is then multiplied by scale."""
    keep_below = max(1, round((1 - p) * 65536))
    return keep_below, 65536 / keep_below


class RNG:
    """Keep-or-drop masks for a batch whose first axis counts samples.

    `begin_step(step, first)` starts the streams of samples first, first + 1, … of that step. Masks asked for after it
    follow one another in those streams; without a new `begin_step` they simply go on.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.begin_step(0)

    def begin_step(self, step: int, first: int = 0) -> None:
        self.step, self.first, self.position = step, first, 0
        self._streams = []

    def reserve(self, size: int) -> int:
        """Reserve numbers for a mask of `size` elements a sample; returns their place in each stream, in words.

        A word has 64 bits, enough for four elements. Whoever computes masks on a GPU reads the streams from there.
        """
        position = self.position
        self.position += -(-size // 4)
        return position

    def mask(self, shape, p: float, out) -> None:
        """Fill `out`, of `shape` (B, …), with 0 where an element is dropped, else with 1 / (1 - p).

        An element is decided by 16 random bits, so p is rounded to a multiple of 1/65536; the scale uses the
        rounded p, so that the expectation stays exactly 1.
        """
        keep_below, scale = keep_rule(p)
        scale = out.dtype.type(scale)
        rows = out.reshape(len(out), -1)  # a view: buffers are contiguous
        size = rows.shape[1]
        position = self.reserve(size)
        while len(self._streams) < shape[0]:
            counter = [0, 0, 0, self.first + len(self._streams)]
            self._streams.append(np.random.Philox(key=[self.seed, self.step], counter=counter))
            self._streams[-1].random_raw(position, output=False)
        for row, stream in zip(rows, self._streams, strict=False):
            bits = stream.random_raw(-(-size // 4)).view(np.uint16)[:size]
            np.multiply(bits < keep_below, scale, out=row)
