"""gpt/data/batches.py: text to ids to batches."""

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data.batches import EVAL_VAL, TRAIN_STEP, batch_starts, encode_corpus, get_batch, whole_split_batches
from gpt.data.corpus import open_corpus
from gpt.data.splits import split
from gpt.errors import RunError, UsageError


class CodePoints:
    """The simplest tokenizer: a character's id is its code point. Counts what it is asked for."""

    vocab_size = 0x110000
    fingerprint = "code points"

    def __init__(self):
        self.encoded = 0

    def encode(self, text):
        self.encoded += len(text)
        return [ord(character) for character in text]


@pytest.fixture
def corpus(tmp_path):
    text = "".join(f"Line {n}, 第{n}行 🙂\n" for n in range(500))
    (tmp_path / "text.txt").write_text(text, "utf-8")
    return open_corpus([str(tmp_path / "text.txt")])


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def cached_file(cache) -> Path:
    (path,) = (cache / "tokens").iterdir()
    return path


def test_the_ids_are_the_text_in_order(corpus, cache):
    tokens = encode_corpus(corpus, CodePoints(), cache)
    assert "".join(map(chr, tokens)) == "".join(corpus.chunks())
    assert tokens.dtype == np.uint32


def test_the_second_time_nothing_is_encoded(corpus, cache):
    first, second = CodePoints(), CodePoints()
    expected = encode_corpus(corpus, first, cache).tolist()
    assert encode_corpus(corpus, second, cache).tolist() == expected
    assert (first.encoded, second.encoded) == (corpus.n_chars, 0)


def test_another_tokenizer_gets_tokens_of_its_own(corpus, cache):
    other = CodePoints()
    other.fingerprint = "another"
    encode_corpus(corpus, CodePoints(), cache)
    encode_corpus(corpus, other, cache)
    assert other.encoded == corpus.n_chars
    assert len(list((cache / "tokens").iterdir())) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_cache_is_reported_and_made_again(corpus, cache, damage, capsys):
    expected = encode_corpus(corpus, CodePoints(), cache).tolist()
    path = cached_file(cache)
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes({"flip": data, "cut": data[:-4], "empty": b""}[damage])
    assert encode_corpus(corpus, CodePoints(), cache).tolist() == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert path.name in line
    assert line.endswith("; making it again")
    again = CodePoints()
    encode_corpus(corpus, again, cache)
    assert again.encoded == 0
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_is_one_line(corpus, tmp_path):
    with pytest.raises(RunError, match=r"cannot make .*NANOGRAD_CACHE"):
        encode_corpus(corpus, CodePoints(), tmp_path / "text.txt")


def test_a_full_disk_is_one_line_and_leaves_nothing(corpus, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*No space left on device"):
        encode_corpus(corpus, CodePoints(), cache)
    assert list((cache / "tokens").iterdir()) == []


def test_a_large_text_says_that_it_takes_a_while(corpus, cache, monkeypatch, capsys):
    monkeypatch.setattr("gpt.data.batches.LARGE_BYTES", 100)
    encode_corpus(corpus, CodePoints(), cache)
    assert capsys.readouterr().err == "encoding 0.0 MB of text, once\n"
    encode_corpus(corpus, CodePoints(), cache / "quiet", progress=False)
    assert capsys.readouterr().err == ""


def _encode_in_a_process(path, cache, barrier, answers):
    corpus = open_corpus([path])
    barrier.wait(60)
    answers.put(int(encode_corpus(corpus, CodePoints(), cache).astype(np.int64).sum()))


@pytest.mark.slow
def test_several_processes_may_make_the_same_cache(corpus, cache):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    arguments = (str(corpus.paths[0]), cache, barrier, answers)
    workers = [context.Process(target=_encode_in_a_process, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    sums = {answers.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sums == {sum(map(ord, "".join(corpus.chunks())))}
    assert cached_file(cache).suffix == ".bin"  # and it is the only file: no temporary one is left


@given(n=st.integers(0, 3000), block_size=st.integers(1, 100))
def test_split_is_in_order_and_every_part_holds_a_window(n, block_size):
    tokens = np.arange(n)
    try:
        train, val = split(tokens, block_size)
    except UsageError:
        assert n - n * 9 // 10 <= block_size
        assert n < 6 * (block_size + 1)
        return
    assert np.array_equal(np.concatenate([train, val]), tokens)
    assert min(len(train), len(val)) > block_size
    assert len(val) == max(n - n * 9 // 10, block_size + 1)


@pytest.mark.parametrize(("n", "n_val"), [(1000, 100), (1009, 101), (10_000, 1000), (170, 17), (120, 17)])
def test_split_sizes(n, n_val):
    train, val = split(np.arange(n), 16)
    assert (len(train), len(val)) == (n - n_val, n_val)


@given(n=st.integers(0, 700), block_size=st.integers(1, 200))
def test_a_text_too_short_gets_advice_that_works(n, block_size):
    try:
        split(np.arange(n), block_size)
    except UsageError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message
    assert f"--block_size {block_size}: it has {n} tokens" in message
    assert f"each part needs {block_size + 1}" in message
    advised = message.partition("lower it to --block_size ")[2].partition(",")[0]
    if advised:
        split(np.arange(n), int(advised))
        with pytest.raises(UsageError):
            split(np.arange(n), int(advised) + 1)
    else:
        with pytest.raises(UsageError):
            split(np.arange(n), 1)
    enough = int(message.partition("give a text of ")[2].split()[0])
    split(np.arange(enough), block_size)


def test_starts_are_a_pure_function_of_seed_purpose_and_step():
    def starts(seed=3, purpose=TRAIN_STEP, step=7):
        np.random.default_rng().random()  # no one else's numbers matter
        return batch_starts(10_000, 32, 64, seed, purpose, step).tolist()

    assert starts() == starts()
    different = [starts(), starts(seed=4), starts(purpose=EVAL_VAL), starts(step=8)]
    assert len(set(map(tuple, different))) == 4


def test_starts_reach_every_window_alike():
    n_tokens, block_size = 20, 12  # 8 windows: 0 … 7
    draws = Counter()
    for step in range(1000):
        draws.update(batch_starts(n_tokens, 16, block_size, 0, TRAIN_STEP, step).tolist())
    assert sorted(draws) == list(range(8))
    chi_square = sum((count - 2000) ** 2 / 2000 for count in draws.values())
    assert chi_square < 24.3  # 7 degrees of freedom: 1 in 1000


def test_one_window_is_enough():
    assert batch_starts(9, 4, 8, 0, TRAIN_STEP, 0).tolist() == [0, 0, 0, 0]
    x, y = get_batch(np.arange(9), [0], 8)
    assert (x.tolist(), y.tolist()) == ([list(range(8))], [list(range(1, 9))])


@given(
    tokens=st.lists(st.integers(0, 65535), min_size=2, max_size=50).map(lambda ids: np.array(ids, np.uint16)),
    data=st.data(),
)
def test_y_is_x_one_token_on(tokens, data):
    block_size = data.draw(st.integers(1, len(tokens) - 1))
    starts = data.draw(st.lists(st.integers(0, len(tokens) - block_size - 1), min_size=1, max_size=5))
    x, y = get_batch(tokens, np.array(starts), block_size)
    assert x.shape == y.shape == (len(starts), block_size)
    assert x.dtype == y.dtype == np.int64
    assert x.flags.c_contiguous
    assert y.flags.c_contiguous
    for row, start in enumerate(starts):
        assert x[row].tolist() == tokens[start : start + block_size].tolist()
        assert y[row].tolist() == tokens[start + 1 : start + block_size + 1].tolist()


@pytest.mark.parametrize("start", [-1, 6, 100])
def test_a_window_outside_the_tokens_is_refused(start):
    with pytest.raises(IndexError, match="a window of 5 tokens is not inside 0 to 9"):
        get_batch(np.arange(10), np.array([0, start]), 4)


@given(n=st.integers(1, 200), block_size=st.integers(1, 20), batch_size=st.integers(1, 8))
def test_the_whole_split_is_covered_exactly_once(n, block_size, batch_size):
    tokens = np.arange(n)
    targets = []
    for x, y in whole_split_batches(tokens, block_size, batch_size):
        assert x.shape == y.shape
        assert x.shape[0] <= batch_size
        assert x.shape[1] <= block_size
        assert np.array_equal(y, x + 1)
        targets += y.ravel().tolist()
    assert targets == list(range(1, n))
