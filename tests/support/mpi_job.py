"""Commands under a real mpiexec, each with a time limit: a job that hangs is a failure."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT

LIMIT = 100  # seconds, for what takes a few


def find_mpiexec() -> str | None:
    """The mpiexec that the package mpich puts beside this Python, or any other on the path."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


needs_mpi = pytest.mark.skipif(
    find_mpiexec() is None or importlib.util.find_spec("mpi4py") is None,
    reason="mpiexec and mpi4py are not installed: pip install mpi4py mpich",
)


def environment(cache: Path) -> dict:
    return os.environ | {"NANOGRAD_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Job:
    """`python *arguments`, run by `n` ranks in the folder `cwd`; 0 is no mpiexec at all. A context manager, at whose
    end no process is left.
    """

    def __init__(self, n: int, *arguments, cwd: Path):
        launcher = [find_mpiexec(), "-n", str(n), sys.executable, "-m", "mpi4py"] if n else [sys.executable]
        self.cwd = cwd.resolve()
        self.process = subprocess.Popen(
            [*launcher, *map(str, arguments)],
            cwd=cwd,
            env=environment(cwd / "cache"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def wait(self, seconds: float = LIMIT) -> subprocess.CompletedProcess:
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the job hung: {self.process.args}")
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *exception) -> None:
        for process in (*self.ranks().values(), self.process.pid):
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.process.communicate()

    def ranks(self) -> dict[int, int]:
        """{rank: process id} of the ranks: the processes that work in this folder and were given a rank."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if folder.joinpath("cwd").resolve() == self.cwd:
                    rank = re.search(r"\0PMI_RANK=(\d+)\0", folder.joinpath("environ").read_text())
                    if rank:
                        found[int(rank[1])] = int(folder.name)
        return found


def run_job(n: int, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    with Job(n, *arguments, cwd=cwd) as job:
        return job.wait()


def wait_until(condition, seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.02)
