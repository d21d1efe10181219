"""Which folder a run lives in: a fresh one to train, the newest one to sample, and never one that holds something else.

Without `--out_dir` a run is named after its text, out/tales, and where that exists out/tales-2, out/tales-3 and
so on: training twice never touches the first run. A folder that was named and holds a run needs `--resume` or
`--overwrite`, and one that holds anything else is refused.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from gpt.config.options import TrainConfig
from gpt.data.finding import KNOWN
from gpt.errors import RunError, UsageError
from gpt.runs.lock import LOCK, RunLock

ROOT = Path("out")
DEFAULT_NAME = "tales"
NAME_LIMIT = 40  # characters of a name made from a text's; some file systems allow 255 bytes
RUN_FILES = "config.toml", "metrics.jsonl", "samples.jsonl", "tokenizer.*", "*.png", "page.html"


def run_name(data: Sequence[str]) -> str:
    """The name of a run on these texts: 'my-book' for ['books/my book.txt'], 'tales' for none."""
    if not data:
        return DEFAULT_NAME
    stem = re.sub(r"[^\w.-]+", "-", Path(data[0].removeprefix(KNOWN)).stem)[:NAME_LIMIT].strip("-.")
    return stem or "run"


@contextlib.contextmanager
def taken(config: TrainConfig, root: Path = ROOT) -> Iterator[Path]:
    """The folder that `choose` gives, locked, as long as the block lasts.

    If the block fails before there is anything in a folder that was made for it, the folder is removed again.
    Raises what `choose` does, and RunError if another process trains there.
    """
    wanted = root if config.out_dir is None else Path(config.out_dir)
    there = {path for path in (wanted, *wanted.parents) if path.exists()}
    folder = choose(config, root)
    with RunLock(folder):
        try:
            yield folder
        except BaseException:
            made = [path for path in (folder, *folder.parents) if path not in there]
            with contextlib.suppress(OSError):  # whatever is not empty stays, and so does all above it
                if made and not is_occupied(folder):
                    (folder / LOCK).unlink()
                for path in made:
                    path.rmdir()
            raise


def choose(config: TrainConfig, root: Path = ROOT) -> Path:
    """Make, if need be, and return the folder a training run writes to.

    A fresh name is taken by making its folder, so two runs started at once get two. With `resume` and without
    `out_dir` it is `to_resume`, if there is one. Raises UsageError for a folder that holds something and was
    given without `resume` or `overwrite`, and OSError.
    """
    if config.out_dir is None:
        earlier = to_resume(config.data, root) if config.resume else None
        return earlier or _fresh(run_name(config.data), root)
    folder = Path(config.out_dir)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out_dir {folder} is a file, not a folder")
    if not config.resume and is_occupied(folder):
        if not is_run(folder):
            raise UsageError(f"--out_dir {folder} holds files that are no run: name an empty or a new folder")
        if not config.overwrite:
            raise UsageError(
                f"--out_dir {folder} holds a run: go on with it (--resume), start it anew (--overwrite) "
                "or name another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fresh(name: str, root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _first_free(name, root)
    except OSError as error:
        raise RunError(
            f"cannot make a folder for the run in {root}: {error.strerror or error}; --out_dir names another place"
        ) from error


def _first_free(name: str, root: Path) -> Path:
    for number in count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() has no end")


def is_occupied(folder: Path) -> bool:
    """Does the folder hold anything? Hidden files, such as a lock, do not count."""
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())


def is_run(folder: Path) -> bool:
    """Does the folder hold what train.py writes?"""
    return (folder / "config.toml").is_file() or (folder / "checkpoints").is_dir()


def demand_run(folder: Path) -> None:
    """Raises UsageError, saying what is wrong, unless the folder holds a run."""
    if not is_run(folder):
        problem = "holds no run" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {problem}: name the folder of a run, as python train.py made it")


def clear(folder: Path) -> None:
    """Remove the run in a folder, for `overwrite`: only the files that train.py writes. Raises OSError."""
    if (folder / "checkpoints").is_dir():
        shutil.rmtree(folder / "checkpoints")
    for pattern in RUN_FILES:
        for file in folder.glob(pattern):
            file.unlink()


def checkpoints_size(folder: Path) -> int:
    """The bytes that the checkpoints in a folder take. Raises OSError."""
    return sum(file.stat().st_size for file in (folder / "checkpoints").rglob("*") if file.is_file())


def newest(root: Path = ROOT) -> Path:
    """The run under `root` that was written to last. Raises UsageError if there is none."""
    runs = _runs(root)
    if not runs:
        raise UsageError(f"there is no run in {root}: train one with python train.py, or name one with --out_dir")
    return max(runs, key=_last_written)


def to_resume(data: Sequence[str] = (), root: Path = ROOT) -> Path | None:
    """The run to go on with if none is named: the newest, among those named after `data` if there is any."""
    called = re.compile(re.escape(run_name(data)) + r"(-\d+)?")
    runs = [folder for folder in _runs(root) if not data or called.fullmatch(folder.name)]
    return max(runs, key=_last_written, default=None)


def _runs(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if is_run(folder)] if root.is_dir() else []


def _last_written(folder: Path) -> tuple[int, str]:
    parts = [folder / name for name in ("config.toml", "metrics.jsonl", "checkpoints")]
    return max(part.stat().st_mtime_ns for part in parts if part.exists()), folder.name
