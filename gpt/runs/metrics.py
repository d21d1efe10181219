"""metrics.jsonl: what a run measured, one JSON object a line, `{"step": 100, "loss": 2.31, ...}`.

Each line goes to the system in one write as it is made, so kill -9 costs at most a part of the last line.
A resumed run throws away the lines after its checkpoint's step, for it will write them again: no gap, no
repeat. Against power loss, call `sync` before a checkpoint of the same step is saved.

A value that is NaN or infinite, which JSON has no word for, is written as null.
"""

import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from gpt.errors import RunError
from gpt.files import atomic_file, explained, open_regular, parse_json, write_bytes

FILE = "metrics.jsonl"
LINE_LIMIT = 1 << 20  # bytes


class Metrics:
    """The metrics file of a run, or another one of such lines, open for appending; a context manager.

    resume_step: None starts an empty file; a step keeps the lines up to and including that step. RunError if
        the file that is there is damaged (a half-written last line is not damage: it is dropped).
    """

    def __init__(self, run_dir: str | os.PathLike, resume_step: int | None = None, name: str = FILE):
        self.path = Path(run_dir) / name
        if resume_step is None or not _exists(self.path):
            write_bytes(self.path, b"")
        else:
            with atomic_file(self.path) as file:
                for line, values in _lines(self.path):
                    if values["step"] <= resume_step:
                        file.write(line + b"\n")
        with explained("write", self.path):
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def log(self, step: int, **values) -> None:
        """Append one line. Values are numbers (NumPy's too), texts, booleans, None, or a dict or a list of such."""
        line = json.dumps({name: _plain(value) for name, value in {"step": step, **values}.items()}, allow_nan=False)
        rest = line.encode("ascii") + b"\n"
        with explained("write", self.path):
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        """Put the lines so far on the disk."""
        with explained("write", self.path):
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with explained("write", self.path):
                os.close(fd)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_metrics(run_dir: str | os.PathLike, name: str = FILE) -> list[dict]:
    """The lines of a run's metrics file, in order. A half-written last line is left out; a file that is not
    there has no lines. RunError, with the line's number, for any other damage."""
    path = Path(run_dir) / name
    return [values for _, values in _lines(path)] if _exists(path) else []


def _exists(path: Path) -> bool:
    with explained("read", path):
        return path.exists()


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[tuple[bytes, dict]]:
    """(line without its end, its values), one after the other, so that memory does not grow with the file."""
    with open_regular(path) as (raw, _):
        file = io.BufferedReader(raw)
        number = 0
        while line := file.readline(LINE_LIMIT):
            number += 1
            torn = not line.endswith(b"\n") and not file.peek(1)  # the last line, and no end to it
            where = f"{path} is damaged: line {number}"

            def damaged(problem, where=where):
                return RunError(f"{where} is {problem}: mend or remove that line")

            try:
                if not torn and not line.endswith(b"\n"):
                    raise damaged(f"longer than {LINE_LIMIT} bytes")
                line = line.rstrip(b"\r\n")
                values = parse_json(line, damaged)
                if not isinstance(values, dict) or type(values.get("step")) is not int:
                    raise damaged('no {"step": number, ...}')
            except RunError:
                if torn:
                    return
                raise
            yield line, values
