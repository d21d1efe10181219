"""gpt/cache.py: where things are kept, and that they are there whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from gpt.cache import cache_folder, is_writable, make_folder, written_whole
from gpt.errors import RunError


def test_the_variable_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOGRAD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_without_it_the_folder_is_pooch_s(monkeypatch):
    import pooch

    monkeypatch.delenv("NANOGRAD_CACHE", raising=False)
    assert cache_folder() == Path(pooch.os_cache("nanograd"))


def test_a_file_appears_whole_with_ordinary_rights(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    mask = os.umask(0o027)
    try:
        with written_whole(path) as file:
            file.write(b"abc")
            assert not path.exists()
    finally:
        os.umask(mask)
    assert path.read_bytes() == b"abc"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="mine"), written_whole(path) as file:
        file.write(b"new")
        raise ValueError("mine")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_is_one_line(tmp_path, monkeypatch, call, code):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    message = rf"cannot write .*file: {os.strerror(code)}; set NANOGRAD_CACHE"
    with pytest.raises(RunError, match=message), written_whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (order.append(name), real(*args)))
    with written_whole(tmp_path / "file") as file:
        file.write(b"abc")
    assert order == ["fsync", "replace", "fsync"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"cannot write .*NANOGRAD_CACHE"):
        make_folder(tmp_path / "file" / "below")
    assert not is_writable(tmp_path / "file" / "below")
    assert is_writable(tmp_path / "new")
