"""gpt/data/prepare.py: from --data to tokens, and quickly the second time."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpt.data.corpus import open_corpus
from gpt.data.prepare import load_or_train_tokenizer, prepare
from gpt.errors import UsageError
from tests.support import ROOT
from tokenizers import BPETokenizer, CharTokenizer, TokenizerError

EIGHT_LINES = """\
A small boat left the harbour before sunrise.
The old clock on the wall had stopped at noon.
She wrote his name in the sand and laughed.
Rain fell softly on the roof all night long.
清晨的小路上开满了白色的花。
他把信放进抽屉，再也没有打开。
月光照在湖面上，像一层薄薄的霜。
孩子们追着风筝，跑过了那座石桥。
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NANOGRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def eight_lines(tmp_path):
    (tmp_path / "eight lines 八行.txt").write_text(EIGHT_LINES, "utf-8")
    return [str(tmp_path / "eight lines 八行.txt")]


@pytest.fixture
def training_forbidden(monkeypatch):
    def forbid(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(BPETokenizer, "train", forbid)
    monkeypatch.setattr(CharTokenizer, "train", forbid)


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_the_tokens_are_the_text(eight_lines, kind):
    data = prepare(eight_lines, 16, kind=kind)
    assert data.tokenizer.kind == kind
    assert data.tokenizer.decode([*data.train.tolist(), *data.val.tolist()]) == EIGHT_LINES


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_eight_lines_train_with_16_and_say_why_not_with_64(eight_lines, kind):
    data = prepare(eight_lines, 16, kind=kind)
    assert min(len(data.train), len(data.val)) >= 17
    with pytest.raises(UsageError, match=r"too short for --block_size 64: .* lower it to --block_size \d+"):
        prepare(eight_lines, 64, kind=kind)


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_the_second_time_nothing_is_trained(eight_lines, kind, request):
    first = prepare(eight_lines, 16, kind=kind)
    request.getfixturevalue("training_forbidden")
    second = prepare(eight_lines, 16, kind=kind)
    assert second.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert second.train.tolist() == first.train.tolist()


def test_another_size_is_another_tokenizer(eight_lines, cache):
    corpus = open_corpus(eight_lines)
    small = load_or_train_tokenizer(corpus, "bpe", 280, cache, progress=False)
    assert small.vocab_size == 280


@pytest.mark.parametrize("damage", ["flip", "missing"])
def test_a_damaged_tokenizer_is_reported_and_trained_again(eight_lines, cache, damage, capsys):
    first = prepare(eight_lines, 16)
    (model,) = (cache / "tokenizers").glob("*/tokenizer.model")
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data) if damage == "flip" else model.unlink()
    assert prepare(eight_lines, 16).tokenizer.fingerprint == first.tokenizer.fingerprint
    (line,) = capsys.readouterr().err.splitlines()
    assert "tokenizer.model" in line
    assert line.endswith("; training it again")
    prepare(eight_lines, 16)
    assert capsys.readouterr().err == ""


def test_a_process_that_comes_second_keeps_what_is_there(eight_lines, cache, monkeypatch):
    """Another process trains the same tokenizer meanwhile, and is done first."""
    corpus = open_corpus(eight_lines)
    train = CharTokenizer.train

    def overtaken(chunks):
        monkeypatch.setattr(CharTokenizer, "train", train)
        load_or_train_tokenizer(corpus, "char", None, cache)
        return train(chunks)

    monkeypatch.setattr(CharTokenizer, "train", overtaken)
    assert load_or_train_tokenizer(corpus, "char", None, cache).vocab_size == len(set(EIGHT_LINES))
    (folder,) = (cache / "tokenizers").iterdir()  # and no temporary one
    assert not folder.name.endswith(".tmp")


def test_a_tokenizer_at_hand_is_used(eight_lines, tmp_path, training_forbidden):
    tokenizer = CharTokenizer(EIGHT_LINES)
    assert prepare(eight_lines, 16, tokenizer=tokenizer).tokenizer is tokenizer
    (tmp_path / "other.txt").write_text("Ω" * 200, "utf-8")
    with pytest.raises(TokenizerError, match=r"U\+03A9"):
        prepare([str(tmp_path / "other.txt")], 16, tokenizer=tokenizer)


def test_another_text_is_refused_before_it_is_encoded(eight_lines, tmp_path, cache):
    tokenizer = CharTokenizer("known")
    sha256 = open_corpus(eight_lines).sha256
    with pytest.raises(UsageError, match=r"八行\.txt is not the text that this run was trained on .* --data"):
        prepare(eight_lines, 16, tokenizer=tokenizer, sha256="0" * 64)
    assert not cache.exists()
    (tmp_path / "moved.txt").write_text(EIGHT_LINES, "utf-8")
    prepare([str(tmp_path / "moved.txt")], 16, sha256=sha256)


def test_a_size_that_cannot_be_leaves_nothing_behind(eight_lines, cache):
    with pytest.raises(TokenizerError, match=r"vocab_size 100000 is too large"):
        prepare(eight_lines, 16, vocab_size=100_000)
    assert not list(cache.rglob("*.tmp"))


def test_without_a_cache_things_are_kept_beside_the_run(eight_lines, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NANOGRAD_CACHE")
    (tmp_path / "home").write_bytes(b"a file: nothing can be made in it")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = prepare(eight_lines, 16, run_dir=tmp_path / "run")
    assert len(data.train) > len(data.val)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["tokenizers", "tokens"]
    assert "cannot be written to: using" in capsys.readouterr().err


def test_a_cached_start_imports_nothing_heavy(eight_lines):
    prepare(eight_lines, 16, kind="char")
    script = (
        "import sys; from gpt.data.prepare import prepare; prepare(sys.argv[1:], 16, kind='char'); "
        "print(*{'sentencepiece', 'pooch', 'requests', 'tqdm', 'matplotlib', 'tyro'} & set(sys.modules))"
    )
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", script, *eight_lines], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak of memory from /proc")
def test_a_large_text_takes_little_memory():
    root = ROOT
    novels = root.parent / "shared" / "data" / "english_novels.txt"
    if not novels.is_file():
        pytest.skip("needs ../shared/data/english_novels.txt")
    # Not getrusage: its peak begins with that of the process which started this one.
    script = (
        "import re, sys; from gpt.data.prepare import prepare; "
        "data = prepare(sys.argv[1:], 64, vocab_size=4096); print(len(data.train) + len(data.val)); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(novels)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=True)
    n_tokens, peak = map(int, done.stdout.split())
    assert 27_754_310 / 5 < n_tokens < 27_754_310 / 2
    assert peak < 400_000
    assert done.stderr.splitlines() == [
        "training a tokenizer on 27.8 MB of text, once",
        "encoding 27.8 MB of text, once",
    ]
