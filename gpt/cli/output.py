"""Where a command's words go: its results to stdout, everything else to stderr."""

import sys


def write(text: str) -> None:
    """Results, to stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(line: str) -> None:
    """A line for the person at the terminal, to stderr."""
    print(line, file=sys.stderr, flush=True)
