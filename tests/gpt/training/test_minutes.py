"""--minutes: the length is fixed before the first step, and the run is that of the same --max_steps."""

from pathlib import Path

import pytest

from gpt.cli.command_line import parse_train
from gpt.config.options import TrainConfig
from gpt.config.toml import read_toml
from gpt.errors import UsageError
from gpt.training import minutes
from gpt.training.minutes import steps_in
from tests.gpt.training.test_resume import assert_same_run
from tests.support.tiny_training import train


def test_steps_that_fit():
    assert steps_in(60, 0.1, 0.0, 100) == 600
    assert steps_in(61, 0.1, 1.0, 100) == 545  # 545 steps and 5.45 + 1 evaluations
    assert steps_in(-5, 0.1, 1.0, 100) == steps_in(0.05, 0.1, 0.0, 100) == 1


@pytest.mark.parametrize("flags", [{}, {"optimizer": "muon", "threads": 2}])
def test_the_length_is_noted_and_the_run_is_that_of_so_many_steps(workplace, monkeypatch, capsys, flags):
    monkeypatch.setattr(minutes, "steps_in", lambda seconds, each, evaluation, interval: 7)
    assert train(minutes=0.01, **flags) == 0
    assert "\n7 steps of " in capsys.readouterr().out
    noted = read_toml(TrainConfig, Path("run/config.toml"))
    assert noted["max_steps"] == 7 and "minutes" not in noted
    assert train(out_dir="again", **(flags | {"max_steps": 7})) == 0
    assert_same_run("run", "again", step=7)


def test_what_is_left_of_the_time_is_what_counts(workplace, monkeypatch):
    asked = []
    monkeypatch.setattr(minutes, "steps_in", lambda *arguments: asked.append(arguments) or 2)
    assert train(minutes=0.05, eval_interval=5) == 0
    ((left, each, evaluation, interval),) = asked
    assert 0 < left < 3 and 0 < each < 3 and 0 < evaluation < 3 and interval == 5


def test_a_run_that_goes_on_has_a_length(workplace):
    with pytest.raises(UsageError, match="--minutes fixes the length of a new run"):
        parse_train(["--resume", "--minutes", "3"])
