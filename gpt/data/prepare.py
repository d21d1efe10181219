"""Everything between `--data` and the first step: the text, a tokenizer for it, its tokens, the two splits.

What is slow is done once. A tokenizer is kept in the cache under the hash of the text, its kind and size and
the code that trains it; tokens as gpt/data/batches.py says. The second start on a text reads both back.
"""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gpt.tokenizers
from gpt.config.options import TrainConfig
from gpt.data.batches import LARGE_BYTES, encode_corpus, source_of
from gpt.data.cache import cache_folder, is_writable, make_cache_folder
from gpt.data.corpus import Corpus, open_corpus
from gpt.data.splits import arrange, file_boundaries, ranges, split
from gpt.errors import RunError, UsageError
from gpt.tokenizers import BPETokenizer, CharTokenizer, TokenizerError, load_tokenizer
from gpt.utf8 import shown


@dataclass(frozen=True)
class Data:
    """What a run trains on. `train` and `val` are 1-D arrays of ids, views of memory-mapped files.

    `val_corpus` is the text to validate on where that is one of its own, else None.
    """

    corpus: Corpus
    tokenizer: object
    train: np.ndarray
    val: np.ndarray
    val_corpus: Corpus | None = None

    @property
    def hashes(self) -> dict[str, str | None]:
        """Of the texts: what a run that goes on must find again."""
        return {
            "corpus_sha256": self.corpus.sha256,
            "val_sha256": self.val_corpus.sha256 if self.val_corpus else None,
        }


def prepare(
    specs: Sequence[str],
    block_size: int,
    *,
    kind: str = "bpe",
    vocab_size: int | None = None,
    tokenizer=None,
    val_data: Sequence[str] = (),
    how: str = "tail",
    skip_unreadable: bool = False,
    sha256: str | None = None,
    val_sha256: str | None = None,
    run_dir: Path | None = None,
    progress: bool = True,
) -> Data:
    """Open a text, find or train its tokenizer, encode it and split it.

    `tokenizer` is one already at hand (a run that goes on); then `kind` and `vocab_size` are not used.
    `val_data` names texts to validate on; without any a part of the text does, `how` says which (gpt/data/splits.py).
    `sha256` and `val_sha256` are those of the texts which such a run was started on; another text is refused before
    it is encoded. `run_dir` is the run's folder: no text, and the place to keep tokens in when the cache cannot be
    written to. `progress` allows lines on stderr. Raises UsageError and RunError, each with one line for the user,
    and TokenizerError.
    """
    corpus = open_corpus(specs, run_dir, skip_unreadable)
    val_corpus = open_corpus(val_data, run_dir, skip_unreadable, "--val_data") if val_data else None
    for text, name, wanted in (corpus, "data", sha256), (val_corpus, "val_data", val_sha256):
        if text is not None and wanted is not None and text.sha256 != wanted:
            raise UsageError(
                f"{text.label} is not the text that this run was trained on (its SHA-256 differs): "
                f"give the same --{name}, or start a new run"
            )
        for note in text.notes if text is not None and progress else ():
            print(f"warning: {note}", file=sys.stderr, flush=True)
    if val_corpus is not None:
        _refuse_common_files(corpus, val_corpus)
    folder = usable_cache(run_dir, progress)
    if tokenizer is None:
        tokenizer = load_or_train_tokenizer(corpus, kind, vocab_size, folder, progress)
    tokens = encode_corpus(corpus, tokenizer, folder, progress)
    if val_corpus is not None:
        val = encode_corpus(val_corpus, tokenizer, folder, progress)
        for text, ids in (corpus, tokens), (val_corpus, val):
            if len(ids) <= block_size:
                raise UsageError(f"{text.label} has {len(ids)} tokens; --block_size {block_size} needs more than that")
        return Data(corpus, tokenizer, tokens, val, val_corpus)
    if how == "tail" and len(corpus.paths) == 1:
        return Data(corpus, tokenizer, *split(tokens, block_size))
    train, val = ranges(file_boundaries(tokens, corpus.file_bytes, tokenizer), block_size, how)
    if len(train) == 1:
        return Data(corpus, tokenizer, *split(tokens, block_size))
    source = source_of(corpus, tokenizer)
    return Data(corpus, tokenizer, *arrange(tokens, train, val, folder, tokenizer.vocab_size, source))


def prepare_for_run(
    config: TrainConfig,
    run_dir: Path,
    tokenizer=None,
    hashes: Mapping | None = None,
    data: Sequence[str] = (),
    **more,
) -> Data:
    """`prepare` as a run's flags ask for it. `hashes` are the Data.hashes it began with, None for a new one; `data`
    names the text where it is elsewhere by now."""
    hashes = hashes or {}
    return prepare(
        data or config.data,
        config.block_size,
        kind=config.tokenizer,
        vocab_size=config.vocab_size,
        tokenizer=tokenizer,
        val_data=config.val_data,
        how=config.split,
        skip_unreadable=config.skip_unreadable,
        sha256=hashes.get("corpus_sha256"),
        val_sha256=hashes.get("val_sha256"),
        run_dir=run_dir,
        **more,
    )


def _refuse_common_files(corpus, val_corpus):
    """No file may be in both texts, under whatever name."""
    trained_on = dict(zip(corpus.file_hashes, corpus.paths, strict=True))
    for digest, path in zip(val_corpus.file_hashes, val_corpus.paths, strict=True):
        if digest in trained_on and path.stat().st_size:
            raise UsageError(
                f"--val_data {shown(path)} is the same text as {shown(trained_on[digest])} of --data: validation text "
                "must not be in the training text"
            )


def usable_cache(run_dir: Path | None, progress: bool = True) -> Path:
    """The cache, or `run_dir` where nothing can be written to it."""
    folder = cache_folder()
    if run_dir is None or os.environ.get("NANOGRAD_CACHE") or is_writable(folder):
        return folder
    if progress:
        print(f"the cache {shown(folder)} cannot be written to: using {shown(run_dir)}", file=sys.stderr)
    return Path(run_dir)


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
