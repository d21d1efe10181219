"""One process per run folder.

Two trainings in one folder would prune each other's checkpoints and mix their metrics. So a training holds a
lock on `.lock` in its folder. It is the kernel that holds it, for as long as the process lives: whatever way
the process ends, kill -9 and power loss included, the lock is gone with it, and the file that stays behind
means nothing. What is written in the file, process id and host, is only there for the message.

Only training locks. Reading a run (sampling, plotting) needs no lock: see `gpt/runs/checkpoint.py`.

Why not the package `filelock`: the message names the process that holds the lock, and filelock keeps no place for
that in the file that it locks.
"""

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from gpt.errors import RunError
from gpt.files import explained, make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOCK = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)  # the errors of the two systems when another process has it
FAR = 1 << 30  # the byte that Windows locks, beyond the text, which must stay readable


def _to_stderr(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


class RunLock:
    """`with RunLock(run_dir): train()`. Makes the folder. Raises RunError if another process has the lock.

    On a file system that knows no locks, `warn` is given a line that says so, and the run goes on without.
    """

    def __init__(self, run_dir: str | os.PathLike, warn: Callable[[str], None] = _to_stderr):
        self.run_dir = Path(run_dir)
        self.warn = warn
        self._fd = None

    def __enter__(self) -> "RunLock":
        make_folder(self.run_dir)
        path = self.run_dir / LOCK
        with explained("lock", path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(fd)
        except OSError as error:
            if error.errno in HELD:
                holder = _holder(fd)
                os.close(fd)
                raise RunError(f"another process{holder} is training in {self.run_dir}") from None
            self.warn(
                f"{self.run_dir} cannot be locked ({error.strerror or error}): "
                "see to it that only one process trains in it"
            )
        if not _has_name(fd, path):  # removed, between open and lock, by a run that failed and tidied up
            os.close(fd)
            return self.__enter__()
        try:
            with explained("lock", path):
                os.ftruncate(fd, 0)
                os.write(fd, f"{os.getpid()} {socket.gethostname()}\n".encode("utf-8", "replace"))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def __exit__(self, *exception) -> None:
        os.close(self._fd)  # and with it goes the lock
        self._fd = None


def _has_name(fd: int, path: Path) -> bool:
    """Is the open file still the one of this name?"""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(fd: int) -> None:
    if fcntl:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lseek(fd, FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)


def _holder(fd: int) -> str:
    """ " (pid 123 on host)", as far as the file tells; it is empty for a moment after the lock was taken."""
    os.lseek(fd, 0, os.SEEK_SET)
    words = os.read(fd, 300).decode("ascii", "replace").split()
    if len(words) != 2 or not words[0].isdigit() or not words[1].isprintable():
        return ""
    where = "" if words[1] == socket.gethostname() else f" on {words[1]}"
    return f" (pid {words[0]}{where})"
