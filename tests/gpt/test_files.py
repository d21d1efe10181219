"""Durable writing: whole or not at all, modes, messages; strict JSON."""

import errno
import os
import stat
import subprocess
import sys
import tracemalloc

import pytest

from gpt import files
from gpt.errors import RunError
from tests.support.faulty_system import Crash, FaultySystem


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "名字 with spaces.txt"
    files.write_text(path, "line\r\n二\n")
    assert path.read_bytes() == "line\r\n二\n".encode()
    files.write_bytes(path, b"")
    assert path.read_bytes() == b""
    assert names(tmp_path) == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a", "x")
        files.make_folder(tmp_path / "b" / "c")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "b" / "c").stat().st_mode) == 0o777 & ~umask


def test_order_of_the_four_steps(tmp_path):
    with FaultySystem().installed() as system:
        files.write_text(tmp_path / "a", "x")
    done = [name for name, _ in system.calls]
    assert done == ["create", "write", "fsync", "replace", "open", "fsync"]
    assert system.calls[2][1] == system.calls[0][1]  # the file, under its temporary name ...
    assert system.calls[3][1] == (system.calls[0][1], str(tmp_path / "a"))
    assert system.calls[5][1] == str(tmp_path)  # ... and the folder


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES, Crash])
def test_a_failure_anywhere_leaves_the_old_file_or_the_new_one(tmp_path, error):
    path = tmp_path / "a"
    files.write_text(path, "old")
    with FaultySystem().installed() as system:
        files.write_text(path, "old")
    for number in range(len(system.calls)):
        files.write_text(path, "old")
        with (
            FaultySystem(number, error).installed(),
            pytest.raises(Crash if error is Crash else RunError) as raised,
        ):
            files.write_text(path, "new")
        assert path.read_text() == ("old" if number <= 3 else "new")
        if error is not Crash:
            assert os.strerror(error) in str(raised.value) and str(tmp_path) in str(raised.value)
            assert "\n" not in str(raised.value)
            assert names(tmp_path) == ["a"]
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a"]


def test_an_exception_in_the_block_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(KeyError), files.atomic_file(tmp_path / "a") as file:
        file.write(b"new")
        raise KeyError("mine")
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_short_writes_are_continued(tmp_path):
    data = bytes(range(256)) * 40
    with FaultySystem(short=True).installed() as system, files.atomic_file(tmp_path / "a") as file:
        file.write(data)
    assert (tmp_path / "a").read_bytes() == data and file.size == len(data)
    assert sum(name == "write" for name, _ in system.calls) > 5


def test_a_system_that_accepts_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "write", lambda fd, data: 0)
    with pytest.raises(RunError, match="accepted no more bytes"):
        files.write_text(tmp_path / "a", "x")


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_real_limit_on_the_size_of_files(tmp_path):
    program = """if True:
        import resource, sys
        from gpt import files
        from gpt.errors import RunError
        files.write_bytes(sys.argv[1], b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            files.write_bytes(sys.argv[1], bytes(200_000))
        except RunError as error:
            print(error)
    """
    path = tmp_path / "a"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.stdout == f"cannot write {path}: {os.strerror(errno.EFBIG)}\n", done.stderr
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_file_in_the_way_of_a_folder(tmp_path):
    files.write_text(tmp_path / "a", "x")
    with pytest.raises(RunError, match="a: File exists"):
        files.make_folder(tmp_path / "a" / "b" / "c")
    with pytest.raises(RunError, match="cannot write"):
        files.write_text(tmp_path / "a" / "b", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunError, match=os.strerror(errno.EACCES)):
            files.write_text(tmp_path / "a", "x")
    finally:
        tmp_path.chmod(0o755)


def test_free_space(tmp_path):
    files.check_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(RunError, match=r"MB free .* need 1,000,000,000,000\.0 MB"):
        files.check_free_space(tmp_path, 10**18)


def test_leftovers(tmp_path):
    (tmp_path / ".tmp-1-aa").mkdir()
    (tmp_path / ".tmp-1-aa" / "b").write_text("x")
    (tmp_path / ".tmp-2").write_text("x")
    (tmp_path / ".tmpfile").write_text("mine")
    assert len(files.remove_leftovers(tmp_path)) == 2
    assert names(tmp_path) == [".tmpfile"]
    assert files.remove_leftovers(tmp_path / "nowhere") == []


def test_reading_is_bounded(tmp_path):
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, 1 << 40)  # a terabyte of nothing
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match="1099511627776 bytes, where at most 10"):
            files.read_bytes(path, 10)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    with pytest.raises(RunError, match="ordinary"):
        files.read_bytes(tmp_path, 10)
    with pytest.raises(RunError, match="cannot read"):
        files.read_bytes(tmp_path / "b", 10)


@pytest.mark.skipif(os.name == "nt", reason="no named pipes in the file system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="ordinary"):
        files.read_bytes(tmp_path / "pipe", 10)


@pytest.mark.parametrize(
    "text, problem",
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "finite"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"a": 1', "JSON"),
        (b"", "JSON"),
        (b"\xff", "utf-8"),
        (b'\xef\xbb\xbf{"a": 1}', "JSON"),
        (b'"\\ud800"', "surrogates"),
        (b"[" * 100_000, "deep"),
        (b"1" * 5000, "digits"),
        (b"\0\0\0\0", "JSON"),
    ],
)
def test_json_is_strict(text, problem):
    with pytest.raises(RunError, match=problem) as raised:
        files.parse_json(text, RunError)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_json_reads_what_is_json():
    text = '{"a": [1, 2.5, null, true, "\\ud83d\\ude00 \\\\ud"], "b": {}}'
    assert files.parse_json(text, RunError) == {"a": [1, 2.5, None, True, "😀 \\ud"], "b": {}}
