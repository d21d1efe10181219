"""A stand-in for the modules os and shutil in gpt/files.py that counts the calls that change the disk.

It can make the k-th of them fail, die at the k-th, or accept less at each write than it was offered.
"""

import contextlib
import errno
import os
import shutil

import gpt.files

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink")


class Crash(BaseException):
    """The process is dead: nothing it would still do happens."""


class FaultySystem:
    """fail_at: number of the call that fails, from 0. error: the errno, or Crash. short: long writes take half.

    `calls` lists what was done: (function, path), `create` for an open that makes a file. After a Crash no call
    does anything. fsync is counted, and not passed on.
    """

    def __init__(self, fail_at=None, error=errno.ENOSPC, short=False):
        self.fail_at, self.error, self.short = fail_at, error, short
        self.calls, self.paths = [], {}

    def step(self, name, path):
        number = len(self.calls)
        self.calls.append((name, path))
        if self.fail_at is not None and number >= self.fail_at:
            if self.error is Crash:
                raise Crash
            if number == self.fail_at:
                raise OSError(self.error, os.strerror(self.error), str(path))

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def counted(first, *rest):
            path = self.paths.get(first) if isinstance(first, int) else str(first)
            if name == "write" and self.short and len(rest[0]) > 60:
                rest = (rest[0][: len(rest[0]) // 2],)
            if name in ("rename", "replace"):
                path = (path, str(rest[0]))
            creates = name == "open" and rest[0] & os.O_CREAT
            self.step("create" if creates else name, path)
            if name == "fsync":  # nothing here pulls the plug, and the real one is slow
                return None
            result = real(first, *rest)
            if name == "open":
                self.paths[result] = path
            return result

        return counted

    def rmtree(self, folder):
        for path in sorted(os.listdir(folder)):
            self.step("unlink", os.path.join(folder, path))
            os.unlink(os.path.join(folder, path))
        self.step("rmdir", str(folder))
        os.rmdir(folder)

    def disk_usage(self, path):
        return shutil.disk_usage(path)

    @contextlib.contextmanager
    def installed(self):
        before = gpt.files.os, gpt.files.shutil
        gpt.files.os = gpt.files.shutil = self
        try:
            yield self
        finally:
            gpt.files.os, gpt.files.shutil = before
