"""Where things that can be made again are kept: downloads, trained tokenizers, tokens.

`$NANOGRAD_CACHE` when it is set, else the folder that the system has for such things (on Linux
`~/.cache/nanograd`). All of it may be deleted at any time.
"""

import os
import tempfile
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


def make_cache_folder(folder: Path) -> None:
    """Make a folder of the cache, with its parents, if it is not there. Raises RunError when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot make {shown(folder)}: {error.strerror or error}; "
            "set NANOGRAD_CACHE to another folder to keep such files in"
        ) from error


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, found out by making one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
