"""What a person reads fits the terminal; what goes into a file is left alone."""

import io
import os
import re
import sys

import pytest

from gpt.cli import output
from gpt.cli.output import Stream, fitted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda: os.terminal_size((30, 24)))


def test_lines_are_broken_between_words_on_a_terminal(narrow):
    text = "short\n\nthe run is in out/tales: loss.png, metrics.jsonl, checkpoints"
    shown = fitted(text, Terminal(), indent="  ")
    assert shown.splitlines() == [
        "short",
        "",
        "the run is in out/tales:",
        "  loss.png, metrics.jsonl,",
        "  checkpoints",
    ]
    assert fitted(text, io.StringIO()) == text


def test_commands_and_long_words_stay_whole(narrow):
    for text in "    python sample.py --out_dir out/some/where/else", "/a/path/that/is/longer/than/the/line.txt":
        assert fitted(text, Terminal()) == text


def streamed(monkeypatch, *pieces) -> str:
    """What stands on a terminal after these pieces."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    stream = Stream()
    for piece in pieces:
        stream.write(piece)
    rows = [""]
    for part in re.split(r"(\n|\x1b\[\d+D\x1b\[K)", terminal.getvalue()):
        if part == "\n":
            rows.append("")
        elif part.startswith("\x1b"):
            rows[-1] = rows[-1][: -int(part[2 : part.index("D")])]
        else:
            rows[-1] += part
    return "\n".join(rows)


def test_a_word_that_does_not_fit_moves_to_the_next_line(narrow, monkeypatch):
    shown = streamed(monkeypatch, "Once there was a little hed", "geho", "g called", " Nell.\n", "x")
    assert shown == "Once there was a little \nhedgehog called Nell.\nx"
    assert streamed(monkeypatch, "a" * 29 + " b") == "a" * 29 + "\nb"
    assert streamed(monkeypatch, "a" * 40) == "a" * 29 + "\n" + "a" * 11
    assert streamed(monkeypatch, "小熊" * 10) == "小熊" * 7 + "\n" + "小熊" * 3


def test_off_a_terminal_a_text_is_left_alone(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    Stream().write("word " * 40)
    assert out.getvalue() == "word " * 40
