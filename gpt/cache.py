"""Where things that can be made again are kept: downloads, trained tokenizers, tokens.

`$NANOGRAD_CACHE` when it is set, else the folder that the system has for such things (on Linux
`~/.cache/nanograd`). All of it may be deleted at any time.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpt.errors import RunError
from gpt.utf8 import shown


def cache_folder() -> Path:
    """The folder of the cache, which need not exist yet."""
    named = os.environ.get("NANOGRAD_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs  # what pooch.os_cache asks, at a tenth of the time to import

    return Path(platformdirs.user_cache_dir("nanograd"))


def make_folder(folder: Path) -> Path:
    """Make a folder of the cache, with its parents, if it is not there. Raises RunError when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(_unusable(folder, error)) from error
    return folder


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, found out by making one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator:
    """A binary file to write that takes its name only when all of it is on the disk.

    It is written under a name of its own in the same folder, flushed, fsynced, renamed to `path`, and the
    folder fsynced; so a reader sees the whole file or none, and several writers at once do no harm: the last
    one stays. Raises RunError when it cannot be written; then nothing is left behind.
    """
    make_folder(path.parent)
    temporary = None
    try:
        try:
            name = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
            with open(name, "x+b") as file:
                temporary = name
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            temporary = None
            fsync_folder(path.parent)
        except OSError as error:
            raise RunError(_unusable(path, error)) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def fsync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk; where the system cannot open folders, do nothing."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path, error):
    reason = error.strerror or error
    return f"cannot write {shown(path)}: {reason}; set NANOGRAD_CACHE to a folder with room to use another"
