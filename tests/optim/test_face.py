"""What an optimiser does beside its steps: settings out of range, copies, pickle, repr, states of other programs."""

import copy
import math
import pickle

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from nanograd import AdamW, Device, Muon, clip_grad_norm
from nanograd.layers import ReLU

KINDS = pytest.mark.parametrize("kind", [AdamW, Muon])


def gpt() -> GPT:
    return GPT(GPTConfig(11, block_size=6, n_layer=1, n_head=2, n_embd=8), Device("numpy", dtype="float64", seed=1))


def step(optimizer, seed: int) -> None:
    model, ids = optimizer.model, np.random.default_rng(seed).integers(0, 11, (2, 5))
    model.zero_grad()
    model(ids, ids)
    model.backward()
    optimizer.step()


def same(a: GPT, b: GPT) -> bool:
    return all((p.value == q.value).all() for p, q in zip(a.parameters(), b.parameters(), strict=True))


# Settings


@KINDS
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, None, "1"])
def test_a_setting_that_is_no_number_of_its_range_is_named(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be (above|at least) 0, not {value!r}$"):
        kind(gpt(), **{name: value})


@KINDS
@pytest.mark.parametrize("betas", [(0.9,), 0.9, None, (0.9, 0.95, 0.99)])
def test_betas_are_two(kind, betas):
    with pytest.raises(ValueError, match=r"^betas must be two numbers, beta1 and beta2, not"):
        kind(gpt(), betas=betas)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"muon_lr": -1}, "muon_lr must be at least 0, not -1"),
        ({"muon_lr": math.nan}, "muon_lr must be at least 0, not nan"),
        ({"momentum": 1}, "momentum must be at least 0 and below 1, not 1"),
        ({"momentum": None}, "momentum must be at least 0 and below 1, not None"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
    ],
)
def test_muon_refuses_what_cannot_be(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Muon(gpt(), **settings)


def test_muon_wants_the_model_too():
    with pytest.raises(TypeError, match=r"the model itself is wanted.*: Muon\(model, lr=\.\.\.\)$"):
        Muon(gpt().parameters())


def test_a_model_without_parameters_is_refused():
    for call in (AdamW, Muon, lambda model: clip_grad_norm(model, 1.0)):
        with pytest.raises(ValueError, match=r"^ReLU has no parameters$"):
            call(ReLU())


def test_an_infinite_limit_measures_the_norm_alone():
    model = gpt()
    model.ln_f.bias.grad = np.full(8, 3.0)
    assert clip_grad_norm(model, math.inf) == pytest.approx(3 * math.sqrt(8))
    np.testing.assert_array_equal(model.ln_f.bias.grad, np.full(8, 3.0))


# Copies


@KINDS
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_as_the_original_does(kind, copied):
    settings = {"scale_rows": True} if kind is Muon else {}
    optimizer = kind(gpt(), lr=0.1, **settings)
    step(optimizer, 0)
    model, again = copied((optimizer.model, optimizer))
    assert again.model is model and again.steps == 1
    assert not any(np.shares_memory(p.value, q.value) for p in model.parameters() for q in optimizer.model.parameters())
    for number in (1, 2):
        for each in (optimizer, again):
            step(each, number)
        assert same(optimizer.model, model)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))], ids=["copy", "pickle"]
)
def test_muon_updates_a_copied_model_matrix_by_matrix(copied):
    original = gpt()
    model = copied(original)
    assert model.h[0].attn.c_attn.weight.widths == (8, 8, 8)
    for each in (original, model):
        step(Muon(each), 0)
    assert same(original, model)


@KINDS
def test_it_shows_its_settings(kind):
    optimizer = kind(gpt(), lr=0.1)
    step(optimizer, 0)
    shown = repr(optimizer)
    assert shown.startswith(f"{kind.__name__}(GPT, lr=0.1, betas=(0.9, 0.95), eps=1e-08, weight_decay=0.01")
    assert shown.endswith("steps=1)") and ("muon_lr=0.02, momentum=0.95" in shown) == (kind is Muon)


# States


def test_a_state_of_torch_tensors_is_taken():
    torch = pytest.importorskip("torch")
    first, second = AdamW(gpt()), AdamW(gpt())
    step(first, 0)
    second.load_state_dict({name: torch.as_tensor(value) for name, value in first.state_dict().items()})
    assert second.steps == 1
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)


def test_all_that_is_missing_and_unexpected_is_named():
    optimizer = AdamW(gpt())
    state = optimizer.state_dict()
    del state["exp_avg.ln_f.bias"], state["exp_avg_sq.ln_f.bias"]
    with pytest.raises(ValueError) as caught:
        optimizer.load_state_dict(state | {"extra": np.ones(1)})
    message = "missing optimizer tensors: exp_avg.ln_f.bias, exp_avg_sq.ln_f.bias; unexpected optimizer tensors: extra"
    assert str(caught.value) == message
