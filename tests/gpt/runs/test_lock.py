"""One process per run folder, and no lock outlives its process."""

import errno
import os
import subprocess
import sys

import pytest

from gpt.errors import RunError
from gpt.runs import lock
from gpt.runs.lock import RunLock

HOLDER = """if True:
    import sys, time
    from gpt.runs.lock import RunLock
    with RunLock(sys.argv[1]):
        print("held", flush=True)
        time.sleep(600)
"""


def start_holder(run_dir):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, run_dir], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_process_is_refused_until_the_first_is_dead(tmp_path):
    run_dir = tmp_path / "out" / "x"
    with start_holder(run_dir) as holder:
        try:
            with pytest.raises(RunError) as raised, RunLock(run_dir):
                pass
            assert str(raised.value) == f"another process (pid {holder.pid}) is training in {run_dir}"
        finally:
            holder.kill()
    assert (run_dir / ".lock").exists()  # stale, and no obstacle
    with RunLock(run_dir):
        assert (run_dir / ".lock").read_text().split()[0] == str(os.getpid())


def test_a_lock_is_given_back(tmp_path):
    for _ in range(2):
        with RunLock(tmp_path), pytest.raises(RunError, match=f"pid {os.getpid()}"), RunLock(tmp_path):
            pass
    with pytest.raises(KeyError), RunLock(tmp_path):
        raise KeyError
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\0", b"x y\n", b"123\n", b"1 \x1b[31m\n"])
def test_whatever_stands_in_the_file(tmp_path, text):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_bytes(text)
        with pytest.raises(RunError) as raised, RunLock(tmp_path):
            pass
        assert str(raised.value) == f"another process is training in {tmp_path}"


def test_a_lock_file_that_was_removed_in_the_meantime_is_made_again(tmp_path, monkeypatch):
    real, removed = lock._lock, []

    def slow(fd):
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        real(fd)

    monkeypatch.setattr(lock, "_lock", slow)
    with RunLock(tmp_path), pytest.raises(RunError, match="is training in"), RunLock(tmp_path):
        pass
    assert removed


def test_another_host_is_named(tmp_path):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_text("12 far.away\n")
        with pytest.raises(RunError, match=r"\(pid 12 on far.away\)"), RunLock(tmp_path):
            pass


def test_a_file_system_without_locks_is_said_and_survived(tmp_path, monkeypatch, capsys):
    def unable(fd):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", unable)
    lines = []
    with RunLock(tmp_path, lines.append):
        pass
    assert len(lines) == 1 and os.strerror(errno.ENOLCK) in lines[0]
    with RunLock(tmp_path):
        pass
    assert capsys.readouterr().err == f"warning: {lines[0]}\n"


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(RunError, match="a: File exists"), RunLock(tmp_path / "a" / "b"):
        pass
    (tmp_path / "c" / ".lock").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot lock"), RunLock(tmp_path / "c"):
        pass
