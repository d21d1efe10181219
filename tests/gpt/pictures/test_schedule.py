import contextlib

import numpy as np
import pytest

from gpt.pictures import figure
from gpt.pictures import schedule as module
from gpt.pictures.schedule import draw_schedule
from gpt.runs.history import History
from tests.support.marks import slow
from tests.support.tiny_runs import make_up


@pytest.mark.parametrize(
    "flags",
    [
        {"max_steps": 1},
        {"max_steps": 10, "warmup_steps": 10},
        *map(slow, [{}, {"warmup_steps": 0}, {"min_lr": 0.0}, {"lr": 3.0}]),
    ],
)
def test_any_schedule_can_be_drawn(tmp_path, flags):
    run = History(make_up(tmp_path / "run", [{"step": 1, "lr": 1e-4}, {"step": 2, "lr": None}], **flags))
    draw_schedule(run, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000


@pytest.mark.parametrize(("schedule", "end"), [("cosine", 1e-4), ("wsd", 0.0), ("constant", 1e-3)])
def test_the_plan_is_that_of_the_run(tmp_path, monkeypatch, schedule, end):
    seen = []

    @contextlib.contextmanager
    def picture(path, title, caption, *size, **more):
        with figure.picture(path, title, caption, *size, **more) as (fig, letters):
            yield fig, letters
            seen.append((fig.axes[0].lines[0].get_ydata(), caption))

    monkeypatch.setattr(module, "picture", picture)
    run = History(make_up(tmp_path / "run", [{"step": 1, "lr": 1e-5}], schedule=schedule, max_steps=200))
    draw_schedule(run, tmp_path / "s.png")
    ((plan, caption),) = seen
    np.testing.assert_allclose(plan, [run.config.lr_at(step) for step in range(200)])
    assert plan[-1] == pytest.approx(end) and max(plan) == pytest.approx(1e-3)
    assert ("half a cosine" in caption) == (schedule == "cosine")
