"""check_model: whole models, and threads that share a batch."""

import numpy as np
import pytest

import nanograd.layers
from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd.gradcheck.check import check_model

# Whole models


def small_gpt(device, **settings):
    config = GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=2, n_embd=4, **settings)
    rng = np.random.default_rng(1)
    return GPT(config, device), rng.integers(0, 7, (2, 4)), rng.integers(0, 7, (2, 4))


@pytest.mark.parametrize("full", [True, False])
def test_model_passes_and_is_left_as_it_was(float64, full):
    model, idx, targets = small_gpt(float64, dropout=0.2)
    before = model.state_dict()
    model(idx, targets)
    model.backward()
    gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
    report = check_model(model, idx, targets, full=full)
    assert report.ok, report
    assert [entry.name for entry in report.entries] == list(before)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.value, before[name])
        np.testing.assert_array_equal(p.grad, gradients[name])


def test_model_in_float32_is_checked_in_float64():
    model, idx, targets = small_gpt(nanograd.Device("numpy", dtype="float32", seed=0))
    report = check_model(model, idx, targets, spread=0)
    assert report.ok and report.error < 1e-13, report
    assert all(p.value.dtype == np.float32 for p in model.parameters())


def test_a_model_with_many_relus_is_seen_to_be_analytic():
    """A step along all of its parameters at once crosses kinks, unless it is short."""
    config = GPTConfig(vocab_size=200, block_size=32, n_layer=2, n_head=2, n_embd=64)
    model = GPT(config, nanograd.Device("numpy", dtype="float64", seed=0))
    idx = np.random.default_rng(0).integers(0, 200, (2, 32))
    report = check_model(model, idx, idx, spread=0, samples=1)
    assert (report.method, report.full, report.moved) == ("complex step", False, 0)
    assert report.ok, report


@pytest.mark.parametrize("full", [True, False])
def test_wrong_model_is_found_by_name(float64, full, monkeypatch):
    model, idx, targets = small_gpt(float64)
    right = model.h[0].ln_1.backward

    def scaled(*upstream):
        dx = right(*upstream)
        model.h[0].ln_1.bias.grad *= 1.0001
        return dx

    monkeypatch.setattr(model.h[0].ln_1, "backward", scaled)
    report = check_model(model, idx, targets, full=full)
    assert [entry.name for entry in report.entries if entry.error > report.tolerance] == ["h.0.ln_1.bias"]


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_gradients_of_the_whole_batch(float64, threads):
    model, idx, targets = small_gpt(float64, dropout=0.3)
    before = model.state_dict()
    report = check_model(model, idx, targets, threads=threads)
    assert report.ok, report
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_threads_need_float64():
    model, idx, targets = small_gpt(nanograd.Device("numpy", dtype="float32", seed=0))
    with pytest.raises(ValueError, match="float64"):
        check_model(model, idx, targets, threads=2)
