import math

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.config.options import TrainConfig
from gpt.errors import RunError
from gpt.pictures.gradients import draw_gradients, edges, norms_by_layer
from gpt.runs.history import History
from gpt.training.step import Trainer, layer_of
from nanograd import Device
from tests.support.tiny_runs import QUICK, make_up


def line(step, **norms):
    return {"step": step, "loss": 2.0, "grad_norm": 1.0, "grad_norms": norms}


def test_norms_are_a_table_of_steps_and_layers(tmp_path):
    run = History(
        make_up(tmp_path / "run", [line(1, wte=1.0, ln_f=None), {"step": 2, "loss": 1.0}, line(9, wte=0.5, ln_f=2)])
    )
    steps, layers, norms = norms_by_layer(run)
    assert steps.tolist() == [1, 9] and layers == ["wte", "ln_f"]
    np.testing.assert_array_equal(norms, [[1.0, np.nan], [0.5, 2.0]])


@pytest.mark.parametrize(
    "lines",
    [
        [line(1, wte=1.0)],
        [line(1, wte=0.0, ln_f=0.0), line(2, wte=None, ln_f=0.0)],
        pytest.param(
            [line(i, **{f"h.{n}.attn": 10.0 ** (n - i) for n in range(60)}) for i in range(1, 5)],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whatever_was_logged_can_be_drawn(tmp_path, lines):
    draw_gradients(History(make_up(tmp_path / "run", lines)), tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size > 1000


def test_a_run_that_has_logged_none_says_so(tmp_path):
    with pytest.raises(RunError, match="no gradient norms by layer"):
        norms_by_layer(History(make_up(tmp_path / "run", [{"step": 1, "loss": 2.0}])))


def test_edges_lie_half_way():
    assert edges(np.array([1.0, 3.0, 7.0])).tolist() == [0.0, 2.0, 5.0, 9.0]
    assert edges(np.array([5.0])).tolist() == [4.5, 5.5]


def test_layers_of_parameters():
    assert [layer_of(name) for name in ("wte.weight", "ln_f.bias", "h.3.ln_1.weight", "h.3.ln_2.bias")] == [
        "wte",
        "ln_f",
        "h.3.attn",
        "h.3.mlp",
    ]
    assert layer_of("h.11.attn.c_attn.weight") == "h.11.attn" and layer_of("h.0.mlp.c_fc.weight") == "h.0.mlp"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_norms_that_a_run_logs_are_those_of_the_gradient(threads):
    config = TrainConfig(**QUICK | {"grad_clip": 1e-3})
    model = GPT(GPTConfig(20, block_size=16, n_layer=2, n_head=2, n_embd=16), Device("numpy", "float64", seed=0))
    tokens = np.random.default_rng(0).integers(0, 20, 400)
    trainer = Trainer(model, config, tokens, tokens, threads)
    result = trainer.train_step()
    norms = trainer.grad_norms()
    assert list(norms) == ["wte", "wpe", "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp", "ln_f", "lm_head"]
    assert math.hypot(*norms.values()) == pytest.approx(float(result.grad_norm), rel=1e-12)
    assert norms["wte"] == pytest.approx(np.linalg.norm(model.wte.weight.grad), rel=1e-12)
