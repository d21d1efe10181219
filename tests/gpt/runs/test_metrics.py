"""metrics.jsonl: exact numbers, no gap and no repeat after a resume, damage named."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.errors import RunError
from gpt.runs.metrics import Metrics, read_metrics


def write(run_dir, steps, resume_step=None):
    with Metrics(run_dir, resume_step) as metrics:
        for step in steps:
            metrics.log(step=step, loss=1 / (step + 3))
        metrics.sync()


def test_lines_come_back_exactly(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.log(step=1, loss=0.1, lr=np.float32(0.1), n=np.int64(3), text="é", nothing=None)
        metrics.log(2, loss=float("nan"), grad_norm=np.float32("inf"))
    text = (tmp_path / "metrics.jsonl").read_text("ascii")
    assert read_metrics(tmp_path) == [json.loads(line) for line in text.splitlines()]
    first, second = read_metrics(tmp_path)
    assert first == {"step": 1, "loss": 0.1, "lr": float(np.float32(0.1)), "n": 3, "text": "é", "nothing": None}
    assert second == {"step": 2, "loss": None, "grad_norm": None}
    assert next(iter(first)) == "step"


def test_each_line_is_in_the_file_at_once(tmp_path):
    with Metrics(tmp_path) as metrics:
        for step in range(3):
            metrics.log(step=step)
            assert len(read_metrics(tmp_path)) == step + 1


def test_a_resume_leaves_no_gap_and_no_repeat(tmp_path):
    write(tmp_path, range(1, 100))
    write(tmp_path, range(51, 120), resume_step=50)
    assert read_metrics(tmp_path) == [{"step": step, "loss": 1 / (step + 3)} for step in range(1, 120)]
    write(tmp_path, [], resume_step=0)
    assert read_metrics(tmp_path) == []
    write(tmp_path, [1, 2])
    write(tmp_path, [1])  # a new run starts an empty file
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]


def test_resume_without_a_file(tmp_path):
    assert read_metrics(tmp_path) == []
    write(tmp_path, [8], resume_step=7)
    assert [line["step"] for line in read_metrics(tmp_path)] == [8]


@pytest.mark.slow
def test_a_file_cut_at_every_byte(tmp_path):
    write(tmp_path, range(9, 12))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:length])
        steps = [line["step"] for line in read_metrics(tmp_path)]
        complete = whole[: length + 1].count(b"}\n")  # a line that only lacks its end is complete
        assert steps == [9, 10, 11][:complete]
        write(tmp_path, [12], resume_step=11)
        assert [line["step"] for line in read_metrics(tmp_path)] == [*steps, 12]


def test_zeros_after_a_power_loss_are_a_torn_line(tmp_path):
    write(tmp_path, [1, 2])
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(bytes(5000))
    assert len(read_metrics(tmp_path)) == 2


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[1]", b'{"step": "1"}', b'{"step": true}', b'{"step": 1', b"\xff", b'{"step": NaN}', b"[" * 99999],
)
def test_damage_in_the_middle_names_the_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    before = path.read_bytes()
    for read in (read_metrics, lambda run_dir: Metrics(run_dir, resume_step=5)):
        with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: line 2 is") as raised:
            read(tmp_path)
        assert "\n" not in str(raised.value)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_one_enormous_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "a": "' + b"x" * (1 << 21) + b'"}\n')
    with pytest.raises(RunError, match="line 1 is longer than"):
        read_metrics(tmp_path)


def test_windows_line_ends_are_read(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\r\n{"step": 2}\r\n')
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]


@given(content=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "metrics.jsonl").write_bytes(content)
    try:
        assert all(type(line["step"]) is int for line in read_metrics(run_dir))
    except RunError as error:
        assert "\n" not in str(error)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Metrics(tmp_path) as metrics:
        metrics.log(step=1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl: No space left"):
                metrics.log(step=2)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    with Metrics(tmp_path) as metrics, monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
        metrics.log(step=1, loss=0.5)
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_a_value_json_cannot_say_is_a_mistake_of_the_caller(tmp_path):
    with Metrics(tmp_path) as metrics, pytest.raises(TypeError):
        metrics.log(step=1, loss=object())
    assert read_metrics(tmp_path) == []
