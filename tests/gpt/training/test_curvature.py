"""--log_sharpness: what is logged is right, and the run is the same as without it."""

import json

import numpy as np
import pytest

from gpt.data.batches import EVAL_TRAIN, batch_starts, get_batch
from gpt.pictures.sharpness import draw_sharpness
from gpt.runs.history import History
from gpt.runs.load import load_model, own_data
from gpt.training.curvature import POSITIONS
from nanograd import Device
from nanograd.gradcheck.hessian import Hessian
from tests.support.tiny_runs import train


def lines_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def without(line, *names):
    return {name: value for name, value in line.items() if name not in (*names, "tokens_per_s", "time")}


@pytest.mark.slow
def test_it_is_logged_and_changes_nothing(tmp_path):
    settings = {"dropout": 0.2, "max_steps": 8, "n_layer": 1, "n_embd": 8, "checkpoint_interval": 6}
    plain = train(tmp_path / "plain", **settings)
    watched = train(tmp_path / "watched", log_sharpness=3, **settings)
    measured = "sharpness", "hessian_trace", "hessian_trace_error"
    ours, theirs = lines_of(watched), lines_of(plain)
    assert [line["step"] for line in ours if "sharpness" in line] == [3, 6, 8]
    assert [without(line, *measured) for line in ours] == [without(line) for line in theirs]

    model, tokenizer, checkpoint = load_model(watched, 6, Device("numpy", dtype="float64"))
    tokens = own_data(watched, tokenizer, checkpoint).train
    T = model.config.block_size
    starts = batch_starts(len(tokens), POSITIONS // T, T, History(watched).config.seed, EVAL_TRAIN, 0)
    with Hessian(model.eval(), *get_batch(tokens, starts, T)) as hessian:
        whole = np.stack([hessian.product(unit) for unit in np.eye(hessian.size)])
    (line,) = (line for line in ours if line["step"] == 6)
    eigenvalues = np.linalg.eigvalsh(whole)
    assert abs(line["sharpness"] / max(eigenvalues, key=abs) - 1) < 1e-2
    assert abs(line["hessian_trace"] - np.trace(whole)) < 6 * line["hessian_trace_error"]

    draw_sharpness(History(watched), tmp_path / "sharpness.png")
    assert (tmp_path / "sharpness.png").stat().st_size > 10_000


def test_a_run_that_logged_none_has_no_picture_of_it(tmp_path):
    from gpt.errors import RunError

    run = History(train(tmp_path, max_steps=2, n_layer=1, n_embd=8))
    with pytest.raises(RunError, match="--log_sharpness"):
        draw_sharpness(run, tmp_path / "sharpness.png")
