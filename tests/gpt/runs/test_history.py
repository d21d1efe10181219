import numpy as np
import pytest

from gpt.errors import RunError, UsageError
from gpt.runs.history import History
from tests.support.tiny_runs import make_up

LINES = [
    {"step": 1, "loss": 4.0},
    {"step": 2, "loss": None, "train_loss": 3.0, "val_loss": 3.1},
    {"step": 4, "loss": 2.0, "train_loss": 2.0, "val_loss": 2.5},
    {"step": 6, "loss": 1.9, "train_loss": 1.8, "val_loss": 2.5},
]


def test_columns_hold_the_lines_that_have_all_names(tmp_path):
    run = History(make_up(tmp_path / "run", LINES))
    steps, train, val = run.column("train_loss", "val_loss")
    assert steps.tolist() == [2, 4, 6] and train.tolist() == [3.0, 2.0, 1.8] and val.tolist() == [3.1, 2.5, 2.5]
    steps, loss = run.column("loss")
    assert steps.tolist() == [1, 2, 4, 6] and np.isnan(loss[1])
    assert [column.size for column in run.column("no such name")] == [0, 0]


def test_best_is_the_first_of_the_lowest(tmp_path):
    assert History(make_up(tmp_path / "run", LINES)).best() == (4, 2.5)
    assert History(make_up(tmp_path / "none", LINES[:1])).best() is None
    untrained = [{"step": 0, "train_loss": 1.0, "val_loss": 1.0}, *LINES]
    assert History(make_up(tmp_path / "up", untrained)).best() == (4, 2.5), "step 0 has no checkpoint"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        History(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no run"):
        History(tmp_path)
    with pytest.raises(RunError, match="measured nothing"):
        History(make_up(tmp_path / "empty", []))


def test_a_value_that_is_no_number_is_damage(tmp_path):
    run = History(make_up(tmp_path / "run", [{"step": 1, "loss": "low"}]))
    with pytest.raises(RunError, match="loss at step 1"):
        run.column("loss")


def test_a_notebook_shows_the_curve_and_the_evaluations(tmp_path):
    lines = [{"step": 1, "loss": 5.0}]
    lines += [
        {"step": i, "loss": 3.0, "train_loss": 2.0, "val_loss": 3.0 + i, "val_bits_per_byte": 1.0} for i in range(2, 99)
    ]
    shown = History(make_up(tmp_path / "<run>", lines))._repr_html_()
    assert "<svg" in shown and "101.0000" in shown and "&lt;run&gt;" in shown and "<run>" not in shown
    assert 10 < shown.count("<tr>") < 25, "of a long run some evaluations, and the last"
