"""Where a command's output goes: its results to stdout, everything else to stderr."""

import shutil
import sys
import textwrap
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
