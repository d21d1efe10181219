"""Which tokens train and which validate: two parts of a text, never one token in both.

    tail      the last tenth of a text validates, as in the article; of several files, the last tenth of each
    spread    the same of up to 20 equal stretches of every file: validation comes from all over

Files shorter than ten windows are taken together with those after them, so that a tenth holds a window. The result
is a list of ranges, in order; where they are more than two, the tokens are written to a file of their own, those to
train on first (`arrange`), so that both parts are again plain views of one memory-mapped file. A window may span the
place where two ranges of one part meet, as it may span two files.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gpt.data.token_file import read_tokens, write_tokens
from gpt.errors import RunError, UsageError

SMALLEST_SHARE = 6  # validation may take one token in so many, when one in ten is less than a window
STRETCHES = 20  # of a file, at most, for "spread"
STRETCH_WINDOWS = 4  # that validation takes of a stretch, at least
PIECE = 1 << 20

Range = tuple[int, int]


def split(tokens: np.ndarray, block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation tokens, in order: nine tenths and one tenth. -> views (N_train,), (N_val,).

    Where the last tenth is less than a window (block_size + 1 tokens), validation gets one window, as long as
    that is no more than a sixth of the text: so a text of a few lines trains. Raises UsageError when a part
    still cannot hold a window.
    """
    n, window = len(tokens), block_size + 1
    n_val = n - n * 9 // 10
    if n_val < window <= n // SMALLEST_SHARE:
        n_val = window
    if min(n_val, n - n_val) < window:
        largest = max(n - n * 9 // 10, n // SMALLEST_SHARE) - 1
        way_out = f"lower it to --block_size {largest}, or" if largest >= 1 else "this is too little for any,"
        raise UsageError(
            f"the text is too short for --block_size {block_size}: it has {n} tokens, {n - n_val} to train "
            f"on and {n_val} to validate on, and each part needs {window}; {way_out} "
            f"give a text of {SMALLEST_SHARE * window} tokens or more"
        )
    return tokens[: n - n_val], tokens[n - n_val :]


def ranges(boundaries: Sequence[int], block_size: int, how: str) -> tuple[list[Range], list[Range]]:
    """Where to train and where to validate, for files whose first tokens are at `boundaries` (the last is the end).

    `how` is "tail" or "spread". -> two lists of (start, end), in order, that together are all of the text.
    """
    window = block_size + 1
    train, val = [], []
    for start, end in _groups(boundaries, 10 * window):
        n = end - start
        count = max(1, min(STRETCHES, n // (10 * STRETCH_WINDOWS * window))) if how == "spread" else 1
        edges = [start + n * i // count for i in range(count + 1)]
        for first, last in itertools.pairwise(edges):
            middle = first + (last - first) * 9 // 10
            train.append((first, middle))
            val.append((middle, last))
    return train, val


def _groups(boundaries: Sequence[int], least: int) -> list[Range]:
    """Files, or several in a row, of at least `least` tokens; less only if there is one group."""
    groups, start = [], boundaries[0]
    for end in boundaries[1:]:
        if end - start >= least:
            groups.append((start, end))
            start = end
    if start < boundaries[-1]:  # too short for one of its own
        start = groups.pop()[0] if groups else start
        groups.append((start, boundaries[-1]))
    return groups


def file_boundaries(tokens: np.ndarray, file_bytes: Sequence[int], tokenizer) -> list[int]:
    """The first token of each file, and the number of tokens. A token that two files share belongs to the first."""
    lengths = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])
    starts, boundaries, done = np.cumsum(file_bytes)[:-1], [0], 0
    for first in range(0, len(tokens), PIECE):
        ends = done + np.cumsum(lengths[tokens[first : first + PIECE]])  # bytes up to the end of each token
        inside = starts[(starts > done) & (starts <= ends[-1])]
        boundaries += (first + np.searchsorted(ends, inside) + 1).tolist()
        done = int(ends[-1])
    return [*boundaries, len(tokens)]


def arrange(
    tokens: np.ndarray, train: list[Range], val: list[Range], folder: Path, vocab_size: int, source: dict
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of two lists of ranges, each list as one array: views of a file in `folder`, made where it is missing.

    `source` says what `tokens` are of. Raises RunError when the file cannot be written.
    """
    plan = hashlib.sha256(repr((train, val)).encode()).hexdigest()
    source = source | {"ranges": plan}
    name = hashlib.sha256("".join(source.values()).encode()).hexdigest()[:32]
    path = Path(folder) / "tokens" / f"{name}.bin"
    try:
        arranged = read_tokens(path, vocab_size, source)
    except (FileNotFoundError, RunError):
        write_tokens(path, _pieces(tokens, [*train, *val]), vocab_size, source)
        arranged = read_tokens(path, vocab_size, source)
    n_train = sum(end - start for start, end in train)
    return arranged[:n_train], arranged[n_train:]


def _pieces(tokens, parts: list[Range]) -> Iterator[np.ndarray]:
    for start, end in parts:
        for first in range(start, end, PIECE):
            yield tokens[first : min(first + PIECE, end)]
