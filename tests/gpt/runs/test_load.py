"""load_model: the right weights, and one clear line for a folder that is no run or does not fit together."""

import dataclasses

import numpy as np
import pytest

from gpt.errors import RunError, UsageError
from gpt.runs.checkpoint import load_checkpoint, save_checkpoint
from gpt.runs.load import load_model
from nanograd.device.device import Device
from tests.support.small_run import write_run
from tokenizers import CharTokenizer, TokenizerFileError


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "运行 1")


def resave(run, change):
    """Save the latest checkpoint again as step 30, with its (weights, state) changed."""
    checkpoint = load_checkpoint(run)
    change(checkpoint.model_state, checkpoint.state)
    save_checkpoint(run, 30, checkpoint.model_state, {}, checkpoint.state, 1.0)


@pytest.mark.parametrize(("which", "step"), [("best", 10), ("latest", 20), (20, 20), (10, 10)])
def test_it_loads_the_checkpoint_asked_for(run, which, step):
    model, tokenizer, checkpoint = load_model(run, which, "numpy")
    assert checkpoint.step == step
    assert tokenizer.decode(tokenizer.encode("好 abc")) == "好 abc"
    assert not model.training
    saved = load_checkpoint(run, step).model_state
    assert saved.keys() == model.state_dict().keys()
    assert all(np.array_equal(saved[name], value) for name, value in model.state_dict().items())


def test_weights_are_held_once(run, monkeypatch):
    read = load_checkpoint(run, 20)
    weights = dict(read.model_state)
    monkeypatch.setattr("gpt.runs.load.load_checkpoint", lambda *_, **__: read)
    model, _, checkpoint = load_model(run, 20, "numpy")
    assert all(np.shares_memory(parameter.value, weights[name]) for name, parameter in model.named_parameters())
    assert not checkpoint.model_state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_computes_in_the_precision_of_the_weights_or_in_that_of_the_device(tmp_path, dtype):
    run = write_run(tmp_path, dtype=dtype)
    assert load_model(run, "best", "numpy")[0].wte.weight.value.dtype == dtype
    assert load_model(run, "best", Device("numpy", dtype="float64"))[0].wte.weight.value.dtype == "float64"


def test_a_folder_without_a_run_is_a_usage_error(tmp_path):
    (tmp_path / "file").touch()
    for name, problem in (("", "holds no run"), ("nowhere", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(UsageError, match=problem):
            load_model(tmp_path / name)


def test_a_tokenizer_of_another_size_is_refused(run):
    CharTokenizer.train("ab").save(run)
    with pytest.raises(RunError, match="2 tokens, the model of step-00000010 12"):
        load_model(run)


def test_a_missing_tokenizer_is_named(run):
    for file in run.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(TokenizerFileError, match="tokenizer"):
        load_model(run)


def forget_shape(weights, state):
    del state["model"]


def impossible_shape(weights, state):
    state["model"]["n_head"] = 3


def unknown_setting(weights, state):
    state["model"]["n_wings"] = 2


def enormous_shape(weights, state):
    state["model"] |= {"n_embd": 2**20, "block_size": 2**20}


def fewer_layers(weights, state):
    state["model"]["n_layer"] = 1


def more_layers(weights, state):
    state["model"]["n_layer"] = 1000


def tensor_missing(weights, state):
    del weights["ln_f.weight"]


def tensor_misshapen(weights, state):
    weights["ln_f.weight"] = np.zeros(5, dtype=np.float32)


def tensor_unknown(weights, state):
    weights["extra"] = np.zeros(5, dtype=np.float32)


def no_embedding(weights, state):
    del weights["wte.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forget_shape, "shape"),
        (impossible_shape, "n_head"),
        (unknown_setting, "n_wings"),
        (enormous_shape, "wte.weight should have shape"),
        (fewer_layers, "h.1."),
        (more_layers, "h.2."),
        (tensor_missing, "ln_f.weight"),
        (tensor_misshapen, "ln_f.weight"),
        (tensor_unknown, "extra"),
        (no_embedding, "wte.weight"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_weights_and_shape_that_do_not_fit_are_one_line_with_the_file_and_the_name(run, change, message):
    resave(run, change)
    with pytest.raises(RunError) as caught:
        load_model(run)
    assert message in str(caught.value) and "step-00000030" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tied_head_is_loaded_as_the_embedding(tmp_path):
    model, _, checkpoint = load_model(write_run(tmp_path, tie_weights=True), "latest", "numpy")
    assert "lm_head.weight" not in load_checkpoint(tmp_path).model_state
    assert model.lm_head.weight is model.wte.weight
    assert dataclasses.asdict(model.config) == checkpoint.state["model"]
