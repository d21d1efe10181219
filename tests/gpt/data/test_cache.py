"""gpt/data/cache.py: where things that can be made again are kept."""

from pathlib import Path

import pytest

from gpt.data.cache import cache_folder, is_writable, make_cache_folder
from gpt.errors import RunError


def test_the_variable_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOGRAD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_without_it_the_folder_is_pooch_s(monkeypatch):
    import pooch

    monkeypatch.delenv("NANOGRAD_CACHE", raising=False)
    assert cache_folder() == Path(pooch.os_cache("nanograd"))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"cannot make .*NANOGRAD_CACHE"):
        make_cache_folder(tmp_path / "file" / "below")
    assert not is_writable(tmp_path / "file" / "below")
    assert is_writable(tmp_path / "new")
