"""Text -> ids -> (B, T) batches.

    tokens      all of the text as ids, in order, in a memory-mapped file of the cache       (N,)
    split       which of them train and which validate (gpt/data/splits.py)
    batch       B windows of T + 1 ids; x is each window without its last id, y without its first, so y[b, t] is
                the id that follows x[b, t]

Which windows a step gets is a pure function of (seed, purpose, step): nothing has to be saved to go on where
a run stopped, and every rank can compute its part of the batch.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt.data.cache import make_cache_folder
from gpt.data.corpus import Corpus
from gpt.data.token_file import read_tokens, write_tokens
from gpt.errors import RunError

TRAIN_STEP, EVAL_TRAIN, EVAL_VAL = 1, 2, 3  # purposes: what windows are drawn for

LARGE_BYTES = 4_000_000  # of text; what is larger takes seconds, and says so


def encode_corpus(corpus: Corpus, tokenizer, cache_dir: Path, progress: bool = True) -> np.ndarray:
    """The ids of a whole text. -> (N,) uint16, or uint32 for more than 65536 ids; memory-mapped, read-only.

    They are made once and kept in `cache_dir`, under the hash of the text and of the tokenizer; a file there
    that is damaged is reported in a line and made again. The text is encoded in pieces (Corpus.chunks), so a
    token never spans two of them. `progress` allows output on stderr: a bar on a terminal, else plain lines.
    Raises RunError when the file cannot be written, and what the tokenizer raises.
    """
    source = source_of(corpus, tokenizer)
    name = hashlib.sha256("".join(source.values()).encode()).hexdigest()[:32]
    path = Path(cache_dir) / "tokens" / f"{name}.bin"
    try:
        return read_tokens(path, tokenizer.vocab_size, source)
    except FileNotFoundError:
        pass
    except RunError as error:
        if progress:
            print(f"{error}; making it again", file=sys.stderr, flush=True)
    make_cache_folder(path.parent)
    write_tokens(path, _encoded(corpus, tokenizer, progress), tokenizer.vocab_size, source)
    return read_tokens(path, tokenizer.vocab_size, source)


def source_of(corpus: Corpus, tokenizer) -> dict[str, str]:
    """What a file of tokens is made of."""
    return {"text": corpus.sha256, "tokenizer": tokenizer.fingerprint}


def _encoded(corpus, tokenizer, progress):
    """Yield the ids of each piece of the text."""
    if corpus.n_bytes < LARGE_BYTES or not progress:
        yield from map(tokenizer.encode, corpus.chunks())
        return
    from tqdm import tqdm

    if not sys.stderr.isatty():
        print(f"encoding {corpus.n_bytes / 1e6:.1f} MB of text, once", file=sys.stderr, flush=True)
    with tqdm(total=corpus.n_chars, desc="encoding", unit=" chars", unit_scale=True, leave=False, disable=None) as bar:
        for chunk in corpus.chunks():
            yield tokenizer.encode(chunk)
            bar.update(len(chunk))


def batch_starts(n_tokens: int, batch_size: int, block_size: int, seed: int, purpose: int, step: int) -> np.ndarray:
    """Where the windows of one batch start. -> (B,) int64, uniform over 0 … n_tokens - block_size - 1.

    A pure function of its arguments; `purpose` (TRAIN_STEP, EVAL_TRAIN, EVAL_VAL) and `step` count from 0.
    """
    generator = np.random.default_rng([seed, purpose, step])
    return generator.integers(0, n_tokens - block_size, size=batch_size)


def get_batch(tokens: np.ndarray, starts: np.ndarray, block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows that start at `starts` (B,). -> x, y, each (B, T) int64, contiguous; y is x one token on.

    Reads only those windows of a memory-mapped array. Raises IndexError for a window that is not inside it.
    """
    starts = np.asarray(starts)
    if starts.size and not 0 <= starts.min() <= starts.max() < len(tokens) - block_size:
        raise IndexError(f"a window of {block_size + 1} tokens is not inside 0 to {len(tokens) - 1}")
    windows = tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64)  # (B, T + 1)
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


def draw_batch(
    tokens: np.ndarray, batch_size: int, block_size: int, seed: int, purpose: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The batch of windows that `batch_starts` draws. -> x, y, as `get_batch`."""
    return get_batch(tokens, batch_starts(len(tokens), batch_size, block_size, seed, purpose, step), block_size)


def whole_split_batches(
    tokens: np.ndarray, block_size: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches x, y that cover `tokens` once: every id but the first is a target exactly once.

    The windows lie end to end: (batch_size, T) as long as there are enough, then the full ones left over,
    then one shorter than T. Weight the mean loss of a batch by y.size to get the mean over all of the tokens.
    """
    n_targets = len(tokens) - 1
    n_full = n_targets // block_size
    for first in range(0, n_full, batch_size):
        starts = np.arange(first, min(first + batch_size, n_full)) * block_size
        yield get_batch(tokens, starts, block_size)
    rest = n_targets - n_full * block_size
    if rest:
        yield get_batch(tokens, np.array([n_full * block_size]), rest)
