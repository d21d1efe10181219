import inspect

import numpy as np
import pytest

from nanograd import Layer, Parameter
from nanograd.layers.attention import CausalSelfAttention
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import check_tensor, share_scratch
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.optim.arena import arenas_of


class Pair(Layer):
    def __init__(self, device):
        self.first = Linear(2, 3, device=device)
        self.rest = [Linear(3, 3, False, device=device, stream=1), Linear(3, 2, device=device, stream=2)]
        self.gain = Parameter(np.ones(2))
        self._hidden = Linear(1, 1, device=device)
        self.shared = self.first.weight


def test_every_parameter_once_by_its_dotted_name(float64):
    names = [name for name, _ in Pair(float64).named_parameters()]
    assert sorted(names) == ["first.bias", "first.weight", "gain", "rest.0.weight", "rest.1.bias", "rest.1.weight"] or (
        sorted(names) == ["first.bias", "gain", "rest.0.weight", "rest.1.bias", "rest.1.weight", "shared"]
    )
    assert [name for name, _ in Pair(float64).named_layers()] == ["", "first", "rest.0", "rest.1"]


def test_train_and_eval_reach_every_layer(float64):
    layer = Pair(float64)
    assert layer.training and Layer().training, "until it is told otherwise"
    assert layer.eval() is layer
    assert not any(below.training for _, below in layer.named_layers())
    assert all(below.training for _, below in layer.train().named_layers())


def test_remembered_things_are_recalled_once(float64):
    layer = Layer()
    with pytest.raises(RuntimeError, match=r"Layer\.backward needs a Layer\.forward"):
        layer.recall()
    layer.remember(1, 2)
    assert layer.recall() == (1, 2)
    with pytest.raises(RuntimeError, match="one forward for each backward"):
        layer.recall()
    layer.remember("bare")
    assert layer.recall() == "bare"


def test_a_layer_without_forward_says_so():
    class Empty(Layer):
        pass

    with pytest.raises(TypeError, match="Empty does not define forward"):
        Empty()(np.ones(1))
    with pytest.raises(TypeError, match="Empty does not define backward"):
        Empty().backward(np.ones(1))


def test_buffers_keep_their_memory_and_change_shape_and_dtype():
    layer = Layer()
    like = np.zeros((4, 6))
    first = layer.buffer("a", like=like)
    assert first.shape == (4, 6) and first.dtype == np.float64
    assert layer.buffer("a", like=like) is first
    smaller = layer.buffer("a", (2, 3), like=like)
    assert smaller.shape == (2, 3) and np.shares_memory(smaller, first)
    assert np.shares_memory(layer.buffer("a", (24,), like=like), first)
    assert not np.shares_memory(layer.buffer("b", like=like), first)
    larger = layer.buffer("a", (5, 6), like=like)
    assert larger.shape == (5, 6)
    other = layer.buffer("a", (5, 6), like=like.astype(np.complex128))
    assert other.dtype == np.complex128
    layer.drop_buffers()
    assert not np.shares_memory(layer.buffer("a", (5, 6), like=like), larger)


def test_dropped_buffers_forget_an_open_forward(float64):
    layer = Linear(2, 2, device=float64)
    layer(np.ones((1, 2)))
    layer.drop_buffers()
    with pytest.raises(RuntimeError):
        layer.backward(np.ones((1, 2)))


def test_state_goes_round(float64):
    layer, other = Linear(2, 3, device=float64), Linear(2, 3, device=float64, stream=5)
    state = layer.state_dict()
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.weight.value, layer.weight.value)
    state["weight"][...] = 7
    assert not (layer.weight.value == 7).any(), "the state is a copy"
    assert not (other.weight.value == 7).any()


def test_load_state_dict_with_assign_takes_the_arrays_themselves(float64):
    layer = Linear(2, 3, device=float64)
    state = {"weight": np.arange(6, dtype=layer.weight.value.dtype).reshape(2, 3), "bias": np.ones(3, np.float16)}
    assert layer.load_state_dict(state, assign=True) == ([], [])
    assert layer.weight.value is state["weight"]
    assert layer.bias.value.dtype == layer.weight.value.dtype and (layer.bias.value == 1).all()  # another dtype: copied
    other = Linear(2, 3, device=float64)
    other.load_state_dict(state)
    assert not np.shares_memory(other.weight.value, state["weight"])
    arenas_of(other)
    other.load_state_dict(state, assign=True)
    assert not np.shares_memory(other.weight.value, state["weight"]), "an optimiser works on the memory it has"
    other, turned = Linear(2, 3, device=float64), np.asfortranarray(state["weight"])
    other.load_state_dict({"weight": turned, "bias": state["bias"]}, assign=True)
    assert not np.shares_memory(other.weight.value, turned) and (other.weight.value == turned).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("bias"), "^missing tensors: bias$"),
        (lambda s: s.update(gain=np.ones(3)), "^unexpected tensors: gain$"),
        (lambda s: s.update(bias=np.ones(4)), r"tensor bias has shape \(4,\), expected \(3,\)"),
        (lambda s: s.update(bias=np.ones(3, dtype=int)), "tensor bias holds int64"),
        (lambda s: s.update(bias=np.array([1, np.nan, 0])), "tensor bias holds NaN"),
        (lambda s: s.update(bias=np.array([1, np.inf, 0])), "tensor bias holds NaN or infinity"),
    ],
)
def test_state_that_does_not_fit_is_refused_and_changes_nothing(float64, change, message):
    layer = Linear(2, 3, device=float64)
    before = layer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_check_tensor_takes_what_fits():
    check_tensor("a", np.ones((2, 1), dtype=np.float32), (2, 1))


def test_zero_grad_reaches_every_parameter(float64):
    layer = Pair(float64)
    for p in layer.parameters():
        p.grad += 1
    layer.zero_grad()
    assert not any(p.grad.any() for p in layer.parameters())


def test_what_stands_behind_a_hidden_attribute_is_found():
    class Hidden(Layer):
        def __init__(self):
            self._cache = Parameter(np.ones(1))
            self.weight = Parameter(np.ones(1))

    assert [name for name, _ in Hidden().named_parameters()] == ["weight"]


def test_values_are_rounded_for_a_product_with_narrower_numbers_only():
    layer, parameter = Layer(), Parameter(np.array([0.1, 0.2]))
    for like in (np.ones(1), np.ones(1, dtype=np.complex128)):
        assert layer.cast_parameter(parameter, like) is parameter.value
    narrow = layer.cast_parameter(parameter, np.ones(1, dtype=np.float32))
    np.testing.assert_array_equal(narrow, np.array([0.1, 0.2], dtype=np.float32))
    assert narrow.dtype == np.float32


def test_layers_of_other_shape_are_no_twins(float64):
    with pytest.raises(ValueError):
        share_scratch([Pair(float64), Linear(2, 3, device=float64)])


def test_twins_share_scratch_and_nothing_else(float64):
    twins = [Pair(float64) for _ in range(3)]
    share_scratch(twins)
    share_scratch([Pair(float64)])
    like = np.ones(4)
    for below in ("first", "rest"):
        layers = [getattr(twin, below) for twin in twins]
        layers = layers if below == "first" else [layer[1] for layer in layers]
        scratch = [layer.scratch("dx", like=like) for layer in layers]
        assert all(np.shares_memory(scratch[0], other) for other in scratch)
        buffers = [layer.buffer("y", like=like) for layer in layers]
        assert not np.shares_memory(buffers[0], buffers[1])
    assert not np.shares_memory(twins[0].first.scratch("dx", like=like), twins[0].rest[1].scratch("dx", like=like))


@pytest.mark.parametrize(
    "layer", [Linear, Embedding, PositionEmbedding, LMHead, LayerNorm, Dropout, CausalSelfAttention, MLP]
)
def test_where_a_layer_lives_is_given_by_name(layer):
    first, *_ = parameters = inspect.signature(layer).parameters.values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert [p.kind for p in parameters if p.name == "device"] == [first.KEYWORD_ONLY]
