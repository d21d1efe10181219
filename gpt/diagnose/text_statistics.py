"""Numbers about token sequences: how much is copied, how much is repeated, what a table of pairs would predict."""

from collections.abc import Sequence

import numpy as np

PIECE = 1 << 20  # tokens looked at together
STRETCHES = 20
COPIED_LENGTHS = 8, 16, 32, 64
PAIR_TOKENS = 4_000_000  # of a large text are enough to count pairs


def distinct_n(sequences: Sequence[Sequence[int]], n: int = 4) -> float:
    """Distinct-n (Li et al. 2016): different n-grams for each n-gram, the mean over the sequences that have any.

    1 where nothing is said twice; near 0 where a loop goes round. NaN if no sequence is n long.

    >>> distinct_n([[1, 2, 1, 2, 1]], n=2)
    0.5
    """
    shares = []
    for ids in sequences:
        grams = list(zip(*(ids[i:] for i in range(n)), strict=False))
        if grams:
            shares.append(len(set(grams)) / len(grams))
    return float(np.mean(shares)) if shares else float("nan")


def copied_share(sequences: Sequence[Sequence[int]], text: np.ndarray, n: int, vocab_size: int) -> float:
    """The share of the n-grams of `sequences` that stand verbatim in `text` (N,). NaN if there are none.

    n is a power of two. N-grams are compared by 64-bit hashes: two different ones are taken for the same with a
    probability of about 1e-10 for ten thousand n-grams in a text of a hundred thousand.
    """
    codes = np.random.default_rng(n).integers(1, 1 << 64, size=vocab_size, dtype=np.uint64)
    grams = [hashes(codes[np.asarray(ids, dtype=np.int64)], n) for ids in sequences]
    grams = np.concatenate([np.zeros(0, np.uint64), *grams])
    if not grams.size:
        return float("nan")
    wanted, counts = np.unique(grams, return_counts=True)
    found = np.zeros(wanted.size, dtype=bool)
    for start in range(0, len(text), PIECE):
        piece = np.asarray(text[start : start + PIECE + n - 1], dtype=np.int64)
        there = hashes(codes[piece], n)
        at = np.minimum(wanted.searchsorted(there), wanted.size - 1)
        found[at[wanted[at] == there]] = True
    return float(counts[found].sum() / counts.sum())


def hashes(codes: np.ndarray, n: int) -> np.ndarray:
    """A hash of every n codes in a row: (N,) uint64 -> (N - n + 1,) uint64, or none. n is a power of two.

    The hash of 2m codes is made of those of its halves, h_2m[i] = h_m[i] * b + h_m[i + m] with an odd b of its
    own for each m, mixed so that the high bits reach the low ones.
    """
    h, m = codes, 1
    while m < n:
        if h.size <= m:
            return np.zeros(0, np.uint64)
        h = h[:-m] * np.uint64(0x9E3779B97F4A7C15 + 2 * m) + h[m:]
        h ^= h >> np.uint64(29)
        m *= 2
    return h


def surprise(train: np.ndarray, val: np.ndarray, vocab_size: int) -> tuple[float, float]:
    """How well pairs counted in nine tenths of `train` predict `val`, and how well the tenth that is left.

    -> the two losses of a bigram model, in nats a token. The tenth is taken from all over, in STRETCHES pieces. Where
    the first loss is much larger, the validation text is unlike the training text.
    """
    train = train[:PAIR_TOKENS]
    edges = np.linspace(0, len(train), STRETCHES + 1).astype(int)
    middles = edges[1:] - np.diff(edges) // 10
    kept = np.concatenate([train[start:middle] for start, middle in zip(edges, middles, strict=False)])
    left = np.concatenate([train[middle:end] for middle, end in zip(middles, edges[1:], strict=True)])
    if min(len(left), len(val)) < 2:
        return 0.0, 0.0
    return pair_loss(kept, val[:PAIR_TOKENS], vocab_size), pair_loss(kept, left, vocab_size)


def pair_loss(train: np.ndarray, val: np.ndarray, vocab_size: int) -> float:
    """The loss on `val`, in nats a token, of a table of token pairs counted in `train`: what a model must beat.

        p(b | a) = (count(a, b) + 10 p(b)) / (count(a) + 10),       p(b) = (count(b) + 1) / (N + V)

    a Dirichlet prior (MacKay & Peto 1995) worth ten tokens. Of large texts the first four million tokens.
    """
    train = np.asarray(train[:PAIR_TOKENS], dtype=np.int64)
    val = np.asarray(val[:PAIR_TOKENS], dtype=np.int64)
    single = np.bincount(train, minlength=vocab_size)
    p = (single[val[1:]] + 1) / (len(train) + vocab_size)
    pairs, counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
    asked = val[:-1] * vocab_size + val[1:]
    at = np.minimum(pairs.searchsorted(asked), pairs.size - 1)
    seen = np.where(pairs[at] == asked, counts[at], 0)
    return float(-np.log((seen + 10 * p) / (single[val[:-1]] + 10)).mean())
