"""Everything between `--data` and the first step: the text, a tokenizer for it, its tokens, the two splits.

What is slow is done once. A tokenizer is kept in the cache under the hash of the text, its kind and size and
the code that trains it; tokens as gpt/data/batches.py says. The second start on a text reads both back.
"""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gpt.tokenizers
from gpt.data.batches import LARGE_BYTES, encode_corpus, split
from gpt.data.cache import cache_folder, is_writable, make_cache_folder
from gpt.data.corpus import Corpus, open_corpus
from gpt.errors import RunError, UsageError
from gpt.tokenizers import BPETokenizer, CharTokenizer, TokenizerError, load_tokenizer
from gpt.utf8 import shown


@dataclass(frozen=True)
class Data:
    """What a run trains on. `train` and `val` are 1-D arrays of ids, views of one memory-mapped file."""

    corpus: Corpus
    tokenizer: object
    train: np.ndarray
    val: np.ndarray


def prepare(
    specs: Sequence[str],
    block_size: int,
    *,
    kind: str = "bpe",
    vocab_size: int | None = None,
    tokenizer=None,
    sha256: str | None = None,
    beside: Path | None = None,
    progress: bool = True,
) -> Data:
    """Open a text, find or train its tokenizer, encode it and split it.

    `tokenizer` is one already at hand (a run that goes on); then `kind` and `vocab_size` are not used.
    `sha256` is that of the text which such a run was started on; another text is refused before it is
    encoded. `beside` is a folder to keep tokens in when the cache cannot be written to. `progress` allows
    words on stderr. Raises UsageError and RunError, each with one line for the user, and TokenizerError.
    """
    corpus = open_corpus(specs)
    if sha256 is not None and corpus.sha256 != sha256:
        raise UsageError(
            f"{corpus.label} is not the text that this run was trained on (its SHA-256 differs): "
            "give the same --data, or start a new run"
        )
    folder = _usable_cache(beside, progress)
    if tokenizer is None:
        tokenizer = load_or_train_tokenizer(corpus, kind, vocab_size, folder, progress)
    tokens = encode_corpus(corpus, tokenizer, folder, progress)
    train, val = split(tokens, block_size)
    return Data(corpus, tokenizer, train, val)


def _usable_cache(beside, progress):
    folder = cache_folder()
    if beside is None or os.environ.get("NANOGRAD_CACHE") or is_writable(folder):
        return folder
    if progress:
        print(f"the cache {shown(folder)} cannot be written to: using {shown(beside)}", file=sys.stderr)
    return Path(beside)


def load_or_train_tokenizer(corpus: Corpus, kind: str, vocab_size: int | None, cache_dir: Path, progress: bool = True):
    """A tokenizer for a text, from the cache or trained and put there.

    kind: "bpe" or "char". vocab_size: for bpe; None lets it choose. Raises TokenizerError for a size that the
    text does not allow, RunError when the cache cannot be written. A damaged one in the cache is reported in
    a line and trained again.
    """
    recipe = f"{corpus.sha256} {kind} {vocab_size} {_training_code(kind)}"
    name = hashlib.sha256(recipe.encode()).hexdigest()[:32]
    folder = Path(cache_dir) / "tokenizers" / f"{kind}-{name}"
    if folder.exists():
        try:
            return load_tokenizer(folder)
        except (TokenizerError, OSError) as error:
            if progress:
                print(f"{error}; training it again", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    if progress and corpus.n_bytes >= LARGE_BYTES and kind == "bpe":
        print(
            f"training a tokenizer on {corpus.n_bytes / 1e6:.1f} MB of text, once",
            file=sys.stderr,
            flush=True,
        )
    if kind == "char":
        tokenizer = CharTokenizer.train(corpus.chunks())
    else:
        tokenizer = BPETokenizer.train(corpus.chunks(), vocab_size)
    _keep(tokenizer, folder)
    return tokenizer


def _keep(tokenizer, folder):
    """Save a tokenizer into the cache, whole or not at all; if another process was first, leave its own."""
    make_cache_folder(folder.parent)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        tokenizer.save(temporary)
        temporary.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise RunError(f"cannot write {shown(folder)}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _training_code(kind):
    """What a trained tokenizer depends on besides the text: our code, and for bpe sentencepiece's version."""
    digest = hashlib.sha256()
    if kind == "bpe":
        from importlib.metadata import version

        digest.update(version("sentencepiece").encode())
    for path in sorted(Path(gpt.tokenizers.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
