"""Files that are either there, whole, or not there at all.

A program may be killed and a machine may lose its power at any instruction. So nothing here is ever written
in place. A file is written under a temporary name in the same folder, and then:

    write     its bytes, all of them, into the kernel's cache
    fsync     the file: its bytes are on the disk before its name is
    rename    to its final name, which a file system does entirely or not at all
    fsync     the folder: the name is on the disk too

Whoever opens the final name sees the old bytes or the new ones, never a mixture. Temporary names start with
`.tmp-`, so what a killed process left behind is known by its name (`remove_leftovers`).

New files and folders take the modes that the umask leaves them. Every failure of the system is a `RunError`
of one line that names the path and the reason. On Windows a folder cannot be fsynced, and there the last of
the four steps is left out.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt.errors import RunError

TEMPORARY = ".tmp-"
PACKAGE = Path(__file__).resolve().parent
CHUNK = 1 << 22  # bytes handed to the system at once
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def explained(action: str, path: str | os.PathLike) -> Iterator[None]:
    """Turn an OSError inside into a RunError: "cannot ACTION PATH: REASON"."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot {action} {path}: {error.strerror or error}") from error


def temporary_name(folder: Path) -> Path:
    """A path in `folder` that is not in use and that `remove_leftovers` knows."""
    return folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"


class NewFile:
    """A file being written for the first time; counts and hashes what goes through.

    `shown` is the path that messages give: the final one, not the temporary one.
    """

    def __init__(self, path: Path, shown: Path):
        self.shown = shown
        self.size = 0  # bytes so far
        self._sha256 = hashlib.sha256()
        with explained("write", shown):
            self._fd = os.open(path, NEW_FILE, 0o666)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data) -> None:
        """Write all of a contiguous buffer (bytes, memoryview, array) without copying it."""
        rest = memoryview(data).cast("B")
        with explained("write", self.shown):
            while rest.nbytes:
                done = os.write(self._fd, rest[:CHUNK])
                if done <= 0:  # the system may take less than it was offered, but not nothing for ever
                    raise OSError(errno.EIO, "the system accepted no more bytes")
                self._sha256.update(rest[:done])
                self.size += done
                rest = rest[done:]

    def sync(self) -> None:
        with explained("write", self.shown):
            os.fsync(self._fd)

    def close(self) -> None:
        with explained("write", self.shown):
            os.close(self._fd)


@contextmanager
def new_file(path: Path, shown: Path | None = None) -> Iterator[NewFile]:
    """Create `path`, which must not exist; at the end of the block its bytes are on the disk.

    Its name is not, until `sync_folder`. After an exception the unfinished file stays, under its name.
    """
    file = NewFile(path, shown or path)
    try:
        yield file
        file.sync()
    except BaseException:
        with contextlib.suppress(RunError):  # the first error is the one to report
            file.close()
        raise
    file.close()


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[NewFile]:
    """`with atomic_file(path) as file: file.write(data)`: durable, and all or nothing, also over an old file.

    After an exception inside the block, or a failure of the system (RunError), `path` is what it was before.
    """
    path = Path(path)
    temporary = temporary_name(path.parent)
    try:
        with new_file(temporary, shown=path) as file:
            yield file
        with explained("write", path):
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report; the name says it is a leftover
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def write_bytes(path: str | os.PathLike, data) -> None:
    """Write a whole file, durably, all or nothing."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a whole file as UTF-8, line ends as they are, durably, all or nothing."""
    write_bytes(path, text.encode("utf-8"))


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: what was created, renamed or removed there stays so."""
    if os.name == "nt":
        return
    with explained("write", folder):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.ENOTSUP,
            ):  # some network file systems have no such thing
                raise
        finally:
            os.close(fd)


def is_folder(path: Path) -> bool:
    with explained("read", path):
        return path.is_dir()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably; one that is there already is fine."""
    missing = []
    while not is_folder(folder):
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with explained("make the folder", path):
            os.makedirs(path, exist_ok=True)
        sync_folder(path.parent)


def new_folder(parent: Path, shown: Path) -> Path:
    """Make a folder with a temporary name. `shown` is the path that messages give."""
    path = temporary_name(parent)
    with explained("write", shown):
        os.mkdir(path)
    return path


def rename(source: Path, target: Path) -> None:
    """Give a file or folder its name; `target` must not exist. Durable after `sync_folder`."""
    with explained("write", target):
        os.rename(source, target)


def discard(path: Path) -> None:
    """Remove a folder so that its name vanishes in one step, never leaving half of it under that name."""
    with explained("remove", path):
        doomed = temporary_name(path.parent)
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def try_to_remove(temporary: Path) -> None:
    """Remove a temporary folder after a failure; what cannot be removed now is a leftover by its name."""
    with contextlib.suppress(OSError):
        shutil.rmtree(temporary)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what dead processes left half written in a folder. Only for the process that holds the run's lock."""
    if not is_folder(folder):
        return []
    with explained("clean up", folder):
        leftovers = sorted(path for path in folder.iterdir() if path.name.startswith(TEMPORARY))
        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return leftovers


def check_free_space(folder: str | os.PathLike, bytes_needed: int) -> None:
    """Raise RunError if the disk of `folder` (which need not exist yet) has less than `bytes_needed` free."""
    folder = Path(folder).absolute()
    with explained("find the free space of", folder):
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise RunError(
            f"{folder} has {megabytes(free)} free and the checkpoints need {megabytes(bytes_needed)}: "
            "make room or choose another --out_dir"
        )


def megabytes(n: int) -> str:
    return f"{n / 1e6:,.1f} MB"


@contextmanager
def open_regular(path: Path) -> Iterator[tuple]:
    """Open an ordinary file to read it: (unbuffered file, size in bytes). A pipe or a device is refused."""
    with explained("read", path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise RunError(f"cannot read {path}: it is not an ordinary file")
        with open(path, "rb", buffering=0) as file:
            yield file, os.fstat(file.fileno()).st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of a file that may be at most `limit` long; RunError otherwise, before reading it."""
    with open_regular(path) as (file, size):
        if size > limit:
            raise RunError(f"{path} is damaged: {size} bytes, where at most {limit} are expected")
        chunks = []
        while chunk := file.read(min(CHUNK, limit + 1)):
            chunks.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                raise RunError(f"{path} grew while it was read")
        return b"".join(chunks)


def parse_json(text: str | bytes, damaged: Callable[[str], Exception]):
    """Strict JSON: UTF-8, no NaN or infinity, no key twice, no text that cannot be encoded again.

    Anything else raises `damaged(problem)`. Depth and the length of numbers are bounded by the interpreter.
    """

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    def finite(number):
        if (value := float(number)) in (float("inf"), float("-inf")):
            raise ValueError("a number is not finite")
        return value

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=once, parse_float=finite, parse_constant=refuse)
        if "\\ud" in text.lower():  # half a surrogate pair would fail later, wherever it is first printed
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise damaged("nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and the Unicode errors are ValueErrors
        raise damaged(f"not valid JSON ({error})") from None
    return value


def shipped(name: str) -> Path:
    """The folder `name`, such as data/, that comes along: beside this package, or inside it where it is installed."""
    inside = PACKAGE / "shipped" / name
    return inside if inside.is_dir() else PACKAGE.parent / name
