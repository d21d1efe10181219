"""Which folder a run gets: never one that holds something else, never one twice."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt.config.options import TrainConfig
from gpt.errors import UsageError
from gpt.runs.folder import choose, clear, is_occupied, newest, run_name, to_resume


def make_run(folder, time=None):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.toml").touch()
    for part in (folder / "config.toml", folder / "checkpoints"):
        os.utime(part, None if time is None else (time, time))
    return folder


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ([], "tales"),
        (["tales-zh"], "tales-zh"),
        (["books/my book.txt", "other.txt"], "my-book"),
        (["三国.txt"], "三国"),
        (["texts/*.txt"], "run"),
        (["../.."], "run"),
        (["folder/"], "folder"),
        (["x" * 300], "x" * 40),
    ],
)
def test_a_run_is_named_after_its_text(data, name):
    assert run_name(data) == name


def test_a_second_run_gets_a_second_folder(tmp_path):
    chosen = [choose(TrainConfig(), tmp_path / "out").name for _ in range(3)]
    assert chosen == ["tales", "tales-2", "tales-3"]


def test_runs_that_start_at_once_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        chosen = list(pool.map(lambda _: choose(TrainConfig(), tmp_path), range(16)))
    assert len(set(chosen)) == 16 and all(folder.is_dir() for folder in chosen)


def test_a_named_folder_may_be_new_or_empty_or_hold_hidden_files(tmp_path):
    new = tmp_path / "a b" / "中文"
    assert choose(TrainConfig(out_dir=new)) == new and new.is_dir()
    (new / ".lock").touch()
    assert choose(TrainConfig(out_dir=new)) == new and not is_occupied(new)


def test_a_named_folder_with_a_run_needs_resume_or_overwrite(tmp_path):
    make_run(tmp_path)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        choose(TrainConfig(out_dir=tmp_path))
    assert choose(TrainConfig(out_dir=tmp_path, resume=True)) == tmp_path
    assert choose(TrainConfig(out_dir=tmp_path, overwrite=True)) == tmp_path
    assert (tmp_path / "checkpoints").is_dir()  # choosing a folder deletes nothing


def test_a_named_folder_with_other_files_is_refused_even_to_overwrite(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for flags in ({}, {"overwrite": True}):
        with pytest.raises(UsageError, match="holds files that are no run"):
            choose(TrainConfig(out_dir=tmp_path, **flags))
    with pytest.raises(UsageError, match="is a file, not a folder"):
        choose(TrainConfig(out_dir=tmp_path / "thesis.tex"))


def test_clear_removes_a_run_and_nothing_else(tmp_path):
    make_run(tmp_path)
    for name in ("metrics.jsonl", "tokenizer.json", "loss.png", "notes.txt", ".lock"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoints" / "x").touch()
    clear(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "notes.txt"]


def test_the_newest_run_is_the_one_written_to_last(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run in .*: train one"):
        newest(tmp_path / "nothing")
    make_run(tmp_path / "old", time=1000)
    latest = make_run(tmp_path / "latest", time=2000)
    (tmp_path / "no run").mkdir()
    assert newest(tmp_path) == latest
    (tmp_path / "old" / "metrics.jsonl").touch()
    assert newest(tmp_path).name == "old"


def test_to_resume_goes_by_the_name_of_the_text_if_one_is_given(tmp_path):
    assert to_resume(root=tmp_path) is None
    make_run(tmp_path / "book", time=1000)
    make_run(tmp_path / "book-2", time=2000)
    make_run(tmp_path / "book-shop", time=3000)
    assert to_resume(["book.txt"], tmp_path).name == "book-2"
    assert to_resume([], tmp_path).name == "book-shop"
    assert to_resume(["other.txt"], tmp_path) is None
    assert choose(TrainConfig(data=("book.txt",), resume=True), tmp_path).name == "book-2"
    assert choose(TrainConfig(data=("other.txt",), resume=True), tmp_path).name == "other"
