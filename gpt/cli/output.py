"""Where a command's output goes: its results to stdout, everything else to stderr."""

import shutil
import sys
import textwrap
import unicodedata
from pathlib import Path
from typing import TextIO


def write(text: str) -> None:
    """Results, to stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(line: str) -> None:
    """A line for the person at the terminal, to stderr."""
    print(fitted(line, sys.stderr), file=sys.stderr, flush=True)


def show(text: str, indent: str = "") -> None:
    """Lines for a person, to stdout; see `fitted`."""
    print(fitted(text, sys.stdout, indent), flush=True)


def fitted(text: str, stream: TextIO, indent: str = "") -> str:
    """The text as it suits `stream`: on a terminal, lines that are wider than it are broken between words.

    What a line goes on with is indented by `indent`. A line that begins with four spaces is a command, to be copied
    as it is.
    """
    if not getattr(stream, "isatty", bool)():
        return text
    room = max(shutil.get_terminal_size().columns - 1, 20)
    form = {"subsequent_indent": indent, "break_on_hyphens": False, "break_long_words": False}
    lines = []
    for line in text.split("\n"):
        as_it_is = len(line) <= room or line.startswith("    ")
        lines += [line] if as_it_is else textwrap.wrap(line, room, **form)
    return "\n".join(lines)


def program(name: str) -> str:
    """How the user calls the command "train" or "sample" here: as it was called this time, or from a checkout."""
    return f"nanograd-{name}" if Path(sys.argv[0]).name.startswith("nanograd-") else f"python {name}.py"


class Stream:
    """Text to stdout that comes in pieces: on a terminal, a word that does not fit its line is moved to the next.

    Elsewhere every character goes through as it is.
    """

    def __init__(self):
        on_a_terminal = getattr(sys.stdout, "isatty", bool)()
        self.room = shutil.get_terminal_size().columns - 1 if on_a_terminal else None
        self.column, self.word = 0, ""  # the cursor's, and what stands before it since the last space

    def write(self, text: str) -> None:
        write(text if self.room is None else "".join(map(self._placed, text)))

    def _placed(self, letter: str) -> str:
        """What to send for the next letter: itself, after a new line where it does not fit."""
        if letter == "\n":
            self.column, self.word = 0, ""
            return letter
        cells = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        before = ""
        if self.column + cells > self.room:
            if letter == " ":
                self.column, self.word = 0, ""
                return "\n"
            if len(self.word) == self.column:  # one word alone fills the line
                self.word = ""
            back = f"\x1b[{len(self.word)}D\x1b[K" if self.word else ""
            before, self.column = f"{back}\n{self.word}", len(self.word)
        self.column += cells
        self.word = "" if letter == " " or cells == 2 else self.word + letter
        return before + letter
