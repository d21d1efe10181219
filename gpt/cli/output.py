"""Where a command's output goes: its results to stdout, everything else to stderr."""

import sys
from pathlib import Path


def write(text: str) -> None:
    """Results, to stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(line: str) -> None:
    """A line for the person at the terminal, to stderr."""
    print(line, file=sys.stderr, flush=True)


def program(name: str) -> str:
    """How the user calls the command "train" or "sample" here: as it was called this time, or from a checkout."""
    return f"nanograd-{name}" if Path(sys.argv[0]).name.startswith("nanograd-") else f"python {name}.py"
