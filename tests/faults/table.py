"""The table of faults that users reported of programs like this one: kinds, and rows that try each.

A row is a function with a sentence for a name. It gets a `Place`, an empty current folder, and asserts the right
behaviour. `KINDS` says in a few words what each kind of fault is; test_faults.py runs every row, and demands four
of each kind.
"""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.cli import command_line
from gpt.diagnose.diagnosis import main as diagnose
from gpt.evaluate import main as evaluate
from gpt.pictures import main as pictures
from tests.support import ROOT
from tests.support.tiny_runs import QUICK, TALE

KINDS = {
    1: "a picture, or a notebook's settings for pictures, costs a run its end",
    2: "the current folder decides which text is meant",
    3: "validation text that is unlike the training text, or in it",
    4: "advice about an encoding that makes it worse",
    5: "bytes that are no text train without a word",
    6: "links: a file read twice, or not at all",
    7: "a model left in evaluation mode",
    8: "a closed terminal loses steps",
    9: "a prompt that ends in a space",
    10: "escapes that a command line cannot type",
    11: "nanoGPT's flags are refused without an answer",
    12: "a run that says nothing for minutes",
    13: "files that cannot be read, one error at a time",
    14: "a run whose text has moved or grown",
    15: "folders that are not there, are closed, or have brackets in their names",
    16: "the lowest versions that are named do not work",
}
ROWS = []
COMMANDS = {"evaluate": evaluate, "diagnose": diagnose, "pictures": pictures}
COMMANDS |= {name: runpy.run_path(str(ROOT / f"{name}.py"))["main"] for name in ("train", "sample")}


def fault(kind: int, *marks):
    """Put a function into the table, as a row of this kind."""

    def add(row):
        ROWS.append(pytest.param(kind, row, id=f"{kind}-{row.__name__.replace('_', ' ')}", marks=marks))
        return row

    return add


class Place:
    """An empty current folder, and the commands in it."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self.patch = folder, monkeypatch

    def write(self, name: str, content: str | bytes = TALE * 8) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def call(self, command: str, *words) -> tuple[int, str, str]:
        """Call a command in this process; -> exit code, stdout, stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            command_line.run(COMMANDS[command], list(map(str, words)))
        return stop.value.code, out.getvalue(), err.getvalue()

    def train(self, *words, **flags) -> tuple[int, str, str]:
        """Train for a moment; flags may be given in either form."""
        given = QUICK | {"tokenizer": "char"} | flags
        return self.call("train", *words, *(f"--{name}={value}" for name, value in given.items() if value is not None))

    def trained(self, *words, **flags) -> Path:
        """A run that did train, in the folder `run`."""
        code, _, err = self.train(*words, **({"out_dir": "run"} | flags))
        assert code == 0, err
        return self.folder / "run"

    def start(self, program: str, *words, **options) -> subprocess.Popen:
        """Start a command as a process of its own."""
        command = [sys.executable, str(ROOT / f"{program}.py"), *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **({"cwd": self.folder} | pipes | options))

    def environment(self, **changes) -> dict:
        """This process's environment, with changes; None takes a name out."""
        merged = dict(os.environ) | changes
        return {name: value for name, value in merged.items() if value is not None}


def flags(**given) -> list[str]:
    """Flags of a training that takes a moment, for a command line."""
    return [f"--{name}={value}" for name, value in (QUICK | {"tokenizer": "char"} | given).items()]


needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals as POSIX has them")
