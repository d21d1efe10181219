import pytest

from gpt.pictures.schedule import draw_schedule
from gpt.runs.history import History
from tests.support.tiny_runs import make_up


@pytest.mark.parametrize(
    "flags",
    [{}, {"max_steps": 1}, {"warmup_steps": 0}, {"max_steps": 10, "warmup_steps": 10}, {"min_lr": 0.0}, {"lr": 3.0}],
)
def test_any_schedule_can_be_drawn(tmp_path, flags):
    run = History(make_up(tmp_path / "run", [{"step": 1, "lr": 1e-4}, {"step": 2, "lr": None}], **flags))
    draw_schedule(run, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000
