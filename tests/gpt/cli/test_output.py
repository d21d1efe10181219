"""What a person reads fits the terminal; what goes into a file is left alone."""

import io
import os

import pytest

from gpt.cli import output
from gpt.cli.output import fitted


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
