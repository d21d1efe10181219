"""What layers do beside computing: repr, pickle, who owns an array, shapes and settings that do not fit."""

import pickle

import numpy as np
import pytest

import nanograd
import nanograd.layers
from gpt import GPT, GPTConfig
from nanograd import AdamW, Device, Parameter, clip_grad_norm
from nanograd.layers import (
    GELU,
    MLP,
    Attention,
    CausalSelfAttention,
    CrossEntropy,
    Dropout,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    LMHead,
    PositionEmbedding,
    ReLU,
    RMSNorm,
)
from nanograd.optim.arena import arenas_of
from tests.support.gpu import array_stub

SHAPE = {"vocab_size": 11, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8}


def gpt(**settings) -> GPT:
    return GPT(GPTConfig(**SHAPE | settings), Device("numpy", dtype="float64", seed=1))


def ids(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SHAPE["vocab_size"], shape)


# Ownership


def test_logits_belong_to_the_caller():
    model = gpt()
    first, _ = model(ids(0, 2, 5))
    before = first.copy()
    model(ids(1, 2, 5))
    np.testing.assert_array_equal(first, before)
    logits, loss = model(ids(0, 2, 5), ids(2, 2, 5))
    np.testing.assert_array_equal(logits, before)
    model.backward()
    np.testing.assert_array_equal(logits, before, "backward works in memory of its own")
    assert model(ids(0, 2, 5), ids(2, 2, 5), keep_logits=False) == (None, loss)


@pytest.mark.parametrize("kind", [np.asarray, list])
def test_what_is_assigned_to_a_parameter_reaches_the_optimiser(kind):
    layer = Linear(3, 2, device=Device("numpy", dtype="float64"))
    optimizer = AdamW(layer, lr=0.5, weight_decay=0.0)
    layer.bias.value = kind(np.array([3.0, 4.0]))
    layer.bias.grad = np.array([1.0, -1.0])
    optimizer.step()
    np.testing.assert_allclose(layer.bias.value, [2.5, 4.5], rtol=1e-6)
    assert np.shares_memory(layer.bias.value, arenas_of(layer)[1].values)


def test_no_gradient_is_a_gradient_of_zero():
    parameter = Parameter(np.ones((2, 3)))
    parameter.grad = np.full((2, 3), 5.0)
    parameter.grad = None
    np.testing.assert_array_equal(parameter.grad, np.zeros((2, 3)))


@pytest.mark.parametrize("what", ["value", "grad"])
@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((3, 2)), np.float64(1.0), np.zeros((1, 3))])
def test_another_shape_is_refused(what, wrong):
    parameter = Parameter(np.ones((2, 3)))
    with pytest.raises(ValueError, match=rf"the {what} of a parameter of shape \(2, 3\) cannot be of shape"):
        setattr(parameter, what, wrong)
    np.testing.assert_array_equal(parameter.value, np.ones((2, 3)))


# Pickle


@pytest.mark.parametrize("settings", [{}, {"tie_weights": True, "dropout": 0.3, "activation": "gelu"}])
def test_a_model_can_be_pickled_at_any_moment(settings):
    model = gpt(**settings)
    optimizer = AdamW(model, lr=0.1)
    model(ids(0, 2, 5), ids(1, 2, 5))
    again = pickle.loads(pickle.dumps(model))  # between forward and backward
    model.backward()
    optimizer.step()
    again = pickle.loads(pickle.dumps(model))
    assert not any(parameter.grad.any() for parameter in again.parameters())
    assert again.h[0].attn.c_attn.weight.widths == model.h[0].attn.c_attn.weight.widths == (8, 8, 8)
    assert again.config == model.config and again.h[0]._scratch is again.h[1]._scratch
    assert (again.lm_head.weight is again.wte.weight) == bool(settings)
    for other in (model, again):
        other.rng.begin_step(3)
    (a, loss_a), (b, loss_b) = (other(ids(0, 2, 5), ids(1, 2, 5)) for other in (model, again))
    np.testing.assert_array_equal(a, b)
    assert loss_a == loss_b
    for other in (model, again):
        other.zero_grad()
        other.backward()
    for (name, p), (_, q) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad, name)


def test_a_model_on_a_gpu_says_why_it_cannot_be_pickled():
    with pytest.raises(TypeError, match=r"what is on a GPU cannot be pickled: model\.save"):
        pickle.dumps(GPT(GPTConfig(**SHAPE), Device(array_stub)))


# What it looks like


def test_a_model_shows_its_layers():
    shown = repr(gpt(dropout=0.1))
    assert shown.startswith("GPT(\n  (wte): Embedding(weight=(11, 8))\n  (wpe): PositionEmbedding(weight=(6, 8))\n")
    assert "  (dropout): Dropout(p=0.1)\n  (h.0-1): 2 x Block(\n    (ln_1): LayerNorm(weight=(8,)" in shown
    assert "n_head=2" in shown and "0x" not in shown and shown.endswith("(loss): CrossEntropy()\n)")


def test_a_list_shows_neighbours_of_one_kind_together():
    class Stack(nanograd.Layer):
        def __init__(self, *layers):
            self.layers = list(layers)

    shown = repr(Stack(GELU(), ReLU(), ReLU(), ReLU(), GELU()))
    assert shown == "Stack(\n  (layers.0): GELU()\n  (layers.1-3): 3 x ReLU()\n  (layers.4): GELU()\n)"


def test_small_things_show_themselves():
    device = Device("numpy", dtype="float64", seed=7)
    assert repr(device) == "Device('numpy', dtype='float64', seed=7)"
    assert repr(Linear(3, 2, device=device)) == "Linear(weight=(3, 2), bias=(2,))"
    assert repr(Linear(3, 2, device=device).weight) == "Parameter((3, 2), float64)"


def test_names_complete_on_a_tab():
    assert {"AdamW", "Device", "clip_grad_norm", "__version__"} <= set(dir(nanograd))
    import gpt as package

    assert {"GPT", "GPTConfig", "generate", "__version__"} <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nanograd.nothing


def test_every_layer_is_made_with_a_device():
    device = Device("numpy", dtype="float64")
    made = [
        *(GELU(device=device), ReLU(device=device), CrossEntropy(device=device), Attention(2, device=device)),
        *(Linear(3, 2, device=device), LayerNorm(3, device=device), Dropout(0.1, device=device), MLP(4, device=device)),
        *(Embedding(5, 3, device=device), PositionEmbedding(5, 3, device=device), LMHead(5, 3, device=device)),
        CausalSelfAttention(4, 2, device=device),
    ]
    assert all(isinstance(layer, Layer) for layer in made)
    assert set(nanograd.layers.__all__) >= {type(layer).__name__ for layer in made}


@pytest.mark.parametrize("kind", [Linear, LayerNorm, RMSNorm, GELU, CausalSelfAttention, GPT])
def test_a_name_is_no_device(kind):
    sizes = {Linear: (3, 2), GELU: (), CausalSelfAttention: (4, 2), GPT: (GPTConfig(vocab_size=3),)}.get(kind, (4,))
    with pytest.raises(TypeError, match=r"^device is a nanograd.Device, such as Device\('numpy'\), not 'numpy'$"):
        kind(*sizes, device="numpy")


# Targets


def test_ignored_targets_as_torch_has_them():
    torch = pytest.importorskip("torch")
    model, targets = gpt(), ids(3, 2, 5)
    targets[0, 2:] = targets[1, 0] = -100
    logits, loss = model(ids(0, 2, 5), targets)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits).reshape(-1, 11), torch.tensor(targets).reshape(-1))
    np.testing.assert_allclose(loss, float(theirs), rtol=1e-14)


@pytest.mark.parametrize("bad", [-1, -99, -101, 5, 10**6])
def test_a_target_that_is_no_id_is_refused(bad):
    with pytest.raises(ValueError, match=rf"token id {bad} is outside"):
        gpt(vocab_size=5)(np.zeros((1, 2), dtype=int), np.array([[1, bad]]))


def test_nothing_but_ignored_targets_is_an_error():
    with pytest.raises(ValueError, match="all targets are -100"):
        gpt()(ids(0, 1, 2), np.full((1, 2), -100))


# Settings out of range


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1}, "lr must be at least 0, not -1"),
        ({"lr": float("nan")}, "lr must be at least 0, not nan"),
        ({"eps": -1}, "eps must be above 0"),
        ({"eps": 0}, "eps must be above 0"),
        ({"betas": (1, 0.9)}, "beta1 must be at least 0 and below 1, not 1"),
        ({"betas": (0.9, 1)}, "beta2 must be at least 0 and below 1, not 1"),
        ({"betas": (-0.1, 0.9)}, "beta1"),
        ({"weight_decay": -1}, "weight_decay must be at least 0, not -1"),
    ],
)
def test_adamw_refuses_what_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        AdamW(gpt(), **settings)


def test_parameters_in_place_of_the_model():
    model = gpt()
    for call in (lambda x: AdamW(x), lambda x: clip_grad_norm(x, 1.0)):
        for wrong in (model.parameters(), list(model.parameters())):
            with pytest.raises(TypeError, match=r"the model itself is wanted, not its parameters .*\(model, "):
                call(wrong)
    with pytest.raises(ValueError, match="max_norm must be above 0"):
        clip_grad_norm(model, 0.0)


# Shapes


def test_shapes_that_do_not_fit_are_named():
    device = Device("numpy", dtype="float64")
    x = np.ones((2, 3, 4))

    def after_forward(layer, given, dy):
        layer.forward(given)
        return layer.backward(dy)

    cases = [
        (lambda: Linear(4, 5, device=device).forward(np.ones((2, 2))), r"x has shape \(2, 2\), expected \(2, 4\)"),
        (
            lambda: after_forward(Linear(4, 5, device=device), x, np.ones((2, 3, 1))),
            r"\(2, 3, 1\), expected \(2, 3, 5\)",
        ),
        (lambda: LayerNorm(1, device=device).forward(np.ones((4, 6))), r"\(4, 6\), expected \(4, 1\)"),
        (lambda: after_forward(LayerNorm(4, device=device), x, np.ones((3, 4))), r"\(3, 4\), expected \(2, 3, 4\)"),
        (
            lambda: PositionEmbedding(1, 4, device=device).forward(x),
            r"\(2, 3, 4\), expected \(B, T, 4\) with T at most 1",
        ),
        (lambda: after_forward(ReLU(), x, np.ones(4)), r"\(4,\), expected \(2, 3, 4\)"),
        (lambda: after_forward(GELU(), x, np.ones((1, 3, 4))), r"\(1, 3, 4\), expected \(2, 3, 4\)"),
        (lambda: after_forward(Dropout(0.5, device=device), x, np.ones(4)), r"\(4,\), expected \(2, 3, 4\)"),
        (lambda: after_forward(Dropout(0.0, device=device), x, np.ones(4)), r"\(4,\), expected \(2, 3, 4\)"),
        (
            lambda: after_forward(Embedding(5, 2, device=device), np.array([1, 2]), np.ones((2, 3))),
            r"expected \(2, 2\)",
        ),
        (lambda: after_forward(LMHead(5, 4, device=device), x, np.ones((2, 3, 4))), r"expected \(2, 3, 5\)"),
        (lambda: Attention(2).forward(np.ones((2, 3, 4))), r"\(2, 3, 4\), expected \(B, T, 3C\), C a multiple of 2"),
        (lambda: after_forward(Attention(2), np.ones((2, 3, 12)), x[..., :2]), r"\(2, 3, 2\), expected \(2, 3, 4\)"),
        (lambda: MLP(4, device=device).forward(x, np.ones((3, 4))), r"\(3, 4\), expected \(2, 3, 4\)"),
        (lambda: RMSNorm(1, device=device).forward(np.ones((4, 6))), r"\(4, 6\), expected \(4, 1\)"),
        (lambda: RMSNorm(4, False, device=device).forward(np.ones((4, 6))), r"\(4, 6\), expected \(4, 4\)"),
        (lambda: CrossEntropy().forward(x, np.zeros((3, 2), dtype=int)), r"\(3, 2\), expected \(2, 3\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


# State of other programs


def test_tensors_of_torch_are_taken():
    torch = pytest.importorskip("torch")
    model = gpt(tie_weights=True)
    state = {name: torch.tensor(value).requires_grad_() for name, value in model.state_dict().items()}
    state["wpe.weight"] = state["wpe.weight"].detach().bfloat16()
    state["lm_head.weight"] = state["wte.weight"]
    other = gpt(tie_weights=True)
    assert other.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(other.wte.weight.value, model.wte.weight.value)
    np.testing.assert_allclose(other.wpe.weight.value, model.wpe.weight.value, rtol=2**-8)
    state["lm_head.weight"] = state["wte.weight"] + 1
    with pytest.raises(ValueError, match=r"wte.weight and lm_head.weight differ"):
        other.load_state_dict(state)
    state["lm_head.weight"] = torch.ones(3, 3)
    with pytest.raises(ValueError, match=r"wte.weight and lm_head.weight differ"):
        other.load_state_dict(state)


def test_numbers_of_eight_and_sixteen_bits_are_taken():
    torch, ml_dtypes = pytest.importorskip("torch"), pytest.importorskip("ml_dtypes")
    model = gpt()
    state = model.state_dict()
    state["ln_f.weight"] = torch.full((8,), 0.5, dtype=torch.float8_e4m3fn)
    state["ln_f.bias"] = np.full(8, 0.25, dtype=ml_dtypes.bfloat16)
    state["h.0.ln_1.bias"] = [2.0] * 8
    model.load_state_dict(state)
    for parameter, expected in ((model.ln_f.weight, 0.5), (model.ln_f.bias, 0.25), (model.h[0].ln_1.bias, 2.0)):
        np.testing.assert_array_equal(parameter.value, np.full(8, expected))


@pytest.mark.parametrize("state", [None, [("wte.weight", np.ones((11, 8)))], "wte.weight"])
def test_a_state_is_a_dict(state):
    with pytest.raises(TypeError, match=rf"a state is a dict of tensors by name, not {type(state).__name__}"):
        gpt().load_state_dict(state)


def test_ids_of_torch_are_taken():
    torch = pytest.importorskip("torch")
    model, idx, targets = gpt(), ids(0, 2, 5), ids(1, 2, 5)
    logits, loss = model(idx, targets)
    theirs, same = model(torch.tensor(idx), torch.tensor(targets))
    np.testing.assert_array_equal(theirs, logits)
    assert same == loss == CrossEntropy()(logits, torch.tensor(targets))


@pytest.mark.parametrize("wrong", [None, "text", [[0.5, 1.0]], iter([1, 2]), [[True, False]]])
def test_what_is_no_ids_is_named(wrong):
    with pytest.raises(TypeError, match="token ids must be integers, not"):
        gpt()(wrong)


def test_all_missing_and_unexpected_tensors_are_named_in_order():
    model = gpt()
    state = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    state["wte.weight"] = np.ones((11, 8))
    own = [name for name in model.state_dict() if name != "wte.weight"]
    theirs = [name for name in state if name != "wte.weight"]
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    names = f"missing tensors: {', '.join(own)}; unexpected tensors: {', '.join(theirs)}"
    assert str(caught.value) == f"{names}; leave the prefix transformer. out"
    keys = model.load_state_dict(state, strict=False)
    assert keys.missing_keys == own and keys.unexpected_keys == theirs
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"; leave the prefix model\. out$"):
        model.load_state_dict(state)
    np.testing.assert_array_equal(model.wte.weight.value, np.ones((11, 8)))
