"""The embedded corpora are what their script writes, well formed, and varied."""

import hashlib
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

DATA = ROOT / "data"
SCRIPT = DATA / "write_tales.py"
FILES = {"tales.txt": 200_000, "tales-zh.txt": 100_000}  # the least size, in bytes


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, encoding="utf-8", timeout=120
    )


def read(name):
    return (DATA / name).read_bytes().decode("utf-8")


def stories(name):
    return read(name).removesuffix("\n").split("\n\n")


@pytest.fixture
def copied(tmp_path):
    """The script and its words, alone in a folder."""
    for path in DATA.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_script_writes_the_committed_bytes(copied):
    done = run(copied / SCRIPT.name)
    assert done.returncode == 0, done.stderr
    for name in FILES:
        digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (copied, DATA)]
        assert digests[0] == digests[1], f"{name} is not what {SCRIPT.name} writes: run it"


def test_check_reports_a_changed_or_missing_file_and_writes_nothing(copied):
    assert run(copied / SCRIPT.name, "--check").returncode == 1
    assert not list(copied.glob("*.txt"))
    for name in FILES:
        (copied / name).write_bytes((DATA / name).read_bytes())
    assert run(copied / SCRIPT.name, "--check").returncode == 0
    changed = (DATA / "tales.txt").read_bytes().replace(b"little", b"big", 1)
    (copied / "tales.txt").write_bytes(changed)
    done = run(copied / SCRIPT.name, "--check")
    assert done.returncode == 1
    assert "tales.txt: differs" in done.stdout and "tales-zh.txt: up to date" in done.stdout
    assert (copied / "tales.txt").read_bytes() == changed


@pytest.mark.parametrize("name", FILES)
def test_plain_text(name):
    text = read(name)
    assert len(text.encode()) >= FILES[name]
    assert "\r" not in text and "\t" not in text and not text.startswith("\ufeff")
    assert text.endswith("\n") and not text.endswith("\n\n") and "\n\n\n" not in text
    assert not re.search(r"[ \u3000](?=\n)", text), "a trailing space"
    assert "  " not in text
    assert not re.search(r"[\[\]{}|_<>]", text), "grammar that did not grow"


@pytest.mark.parametrize("name", FILES)
def test_stories_have_a_title_and_differ(name):
    tales = [tale.split("\n") for tale in stories(name)]
    assert len(tales) >= 300
    assert {len(lines) for lines in tales} == {4}, "a title and three paragraphs"
    titles_and_middles = {(lines[0], lines[2]) for lines in tales}
    assert len(titles_and_middles) == len(tales), "two stories differ in how they open or end, or not at all"


@pytest.mark.parametrize("name", FILES)
def test_sentences_vary(name):
    sentences = [part for tale in stories(name) for part in re.split(r"(?<=[.!?])\"? |(?<=[。！？])”?", tale)]
    different = len(set(sentences))
    assert different >= 1500
    assert different >= 0.15 * len(sentences)


def test_english_articles_and_quotes():
    text = read("tales.txt")
    assert text.isascii()
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)
    for line in text.split("\n"):
        assert line.count('"') % 2 == 0, line
        assert not re.search(r"^[a-z]|[.!?] [a-z]", line), line


def test_chinese_punctuation_is_full_width_and_quotes_pair():
    text = read("tales-zh.txt")
    assert not re.search(r"[!-~ ]", text), "ASCII in the Chinese tales"
    for line in text.split("\n"):
        assert re.fullmatch(r"(?:[^“”]|“[^“”]+”)*", line), line


def test_chinese_keeps_to_few_characters():
    """So that every character has a place of its own in a vocabulary of 512, 256 of them bytes."""
    assert len(set(read("tales-zh.txt"))) <= 250


@pytest.mark.parametrize("words", ["tales_en", "tales_zh"])
def test_heroes_keep_name_kind_and_home(words, monkeypatch):
    monkeypatch.syspath_prepend(str(DATA))
    cast = __import__(words).CAST
    text = read("tales.txt" if words == "tales_en" else "tales-zh.txt")
    for who in cast:
        assert text.count(who["name"]) > 100
        for other in cast:
            if who is not other:
                wrong = [f"{who['name']} the {other['kind']}", f"{other['kind']} called {who['name']}"]
                wrong += [f"{other['kind']}{who['name']}", f"{other['kind']}，名叫{who['name']}"]
                assert not [phrase for phrase in wrong if phrase in text]
