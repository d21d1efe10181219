import copy

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd.device.device import Device
from nanograd.device.elementwise import cast
from nanograd.layers.linear import Linear
from nanograd.optim.arena import Arena, arenas_of, replica_of, rounded_together


@pytest.fixture
def model(float64):
    return GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=2, n_head=2, n_embd=4, tie_weights=True), float64)


def test_parameters_become_views_and_keep_their_values(model):
    values, gradients = model.state_dict(), {}
    for i, (name, p) in enumerate(model.named_parameters()):
        if i % 2:
            p.grad += i
        gradients[name] = p.grad.copy()
    arenas = arenas_of(model)
    assert arenas_of(model) is arenas
    for arena in arenas:
        for name, part in arena.slices():
            p = arena.parameters[name]
            np.testing.assert_array_equal(p.value, values[name])
            np.testing.assert_array_equal(p.grad, gradients[name])
            assert np.shares_memory(p.value, arena.values) and np.shares_memory(p.grad, arena.grads)
            np.testing.assert_array_equal(arena.values[part], p.value.reshape(-1))
            np.testing.assert_array_equal(arena.grads[part], p.grad.reshape(-1))


def test_matrices_decay_and_vectors_do_not(model):
    decaying, other = arenas_of(model)
    assert decaying.decay and not other.decay
    assert all(p.value.ndim == 2 for p in decaying.parameters.values())
    assert all(p.value.ndim == 1 for p in other.parameters.values())
    names = [*decaying.parameters, *other.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert decaying.values.size + other.values.size == sum(p.value.size for p in model.parameters())


def test_a_model_without_vectors_has_one_arena(float64):
    assert len(arenas_of(Linear(2, 2, False, device=float64))) == 1


def test_gradients_that_nobody_wrote_are_zero(model):
    for arena in arenas_of(model):
        arena.grads[...] = 3
    model.zero_grad()
    assert not any(arena.grads.any() for arena in arenas_of(model))


def test_replica_shares_values_and_owns_gradients(model):
    replica = replica_of(model)
    mine, its = dict(model.named_parameters()), dict(replica.named_parameters())
    assert mine.keys() == its.keys()
    for name, p in mine.items():
        assert its[name] is not p
        assert np.shares_memory(its[name].value, p.value)
        assert not np.shares_memory(its[name].grad, p.grad)
    assert replica.lm_head.weight is replica.wte.weight, "the tie is kept"
    for arena, other in zip(arenas_of(model), arenas_of(replica), strict=True):
        assert other.values is arena.values and other.decay == arena.decay
        assert not np.shares_memory(other.grads, arena.grads)
    arenas_of(model)[0].values += 1
    np.testing.assert_array_equal(its["wte.weight"].value, mine["wte.weight"].value)


def test_replica_computes_the_same_gradients(model):
    replica = replica_of(model)
    idx = np.array([[0, 1, 1, 4]])
    for twin in (model, replica):
        twin(idx, idx)
        twin.backward()
    for (name, p), (_, q) in zip(model.named_parameters(), replica.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad, err_msg=name)


def test_matrices_are_rounded_a_part_of_an_arena_at_a_time(monkeypatch, float64):
    model = GPT(GPTConfig(5, block_size=4, n_layer=1, n_head=1, n_embd=4), float64)
    arenas_of(model)
    casts = []
    monkeypatch.setattr(
        "nanograd.optim.arena.cast", lambda x, out: (casts.append(x.size), np.copyto(out, x, casting="unsafe"))
    )
    layer, like = model.h[0].mlp.c_proj, np.ones(1, np.float32)
    names = {name for name in dict(model.named_parameters()) if name.startswith("h.0.mlp.") and "weight" in name}
    with rounded_together(model, names | {"wte.weight"}, np.dtype("float32")):
        assert casts == [5 * 4, 2 * 4 * 16]
        rounded = layer.cast_parameter(layer.weight, like)
        assert rounded is layer.weight.rounded and rounded.dtype == np.float32
        np.testing.assert_array_equal(rounded, layer.weight.value.astype(np.float32))
        assert layer.cast_parameter(layer.weight, np.ones(1)) is layer.weight.value
        assert model.lm_head.weight.rounded is None
    assert all(parameter.rounded is None for parameter in model.parameters())
    layer.weight.value += 1
    np.testing.assert_array_equal(layer.cast_parameter(layer.weight, like), layer.weight.value.astype(np.float32))


@pytest.mark.parametrize("tied", [False, True])
def test_the_weights_of_a_bfloat16_model_are_rounded_together(gpu_xp, monkeypatch, tied):
    model = GPT(GPTConfig(5, block_size=4, n_layer=2, n_head=1, n_embd=4, tie_weights=tied), Device(gpu_xp, "bfloat16"))
    idx, casts = np.array([[0, 1, 1, 4]]), []
    expected = float(model(idx, idx)[1])
    arenas_of(model)
    monkeypatch.setattr("nanograd.optim.arena.cast", lambda x, out: (casts.append(x.size), cast(x, out)))
    monkeypatch.setattr("nanograd.layers.layer.cast", None)
    assert float(model(idx, idx)[1]) == expected
    matrices = [model.lm_head.weight, *(p for block in model.h for p in block.parameters() if p.value.ndim > 1)]
    assert sum(casts) == sum(p.value.size for p in matrices)
    assert len(casts) == 1 + tied
    model.backward()


class Maker:
    """Makes arrays, and remembers them."""

    def __init__(self):
        self.made = []

    def __call__(self, size, dtype):
        self.made.append(np.full(size, np.nan, dtype))
        return self.made[-1]


def test_an_arena_lies_in_the_memory_it_is_given(float64):
    layer, empty = Linear(2, 3, device=float64), Maker()
    value = layer.weight.value.copy()
    arena = Arena({"weight": layer.weight}, True, empty=empty)
    values, grads = empty.made
    assert arena.values is values and arena.grads is grads and values.dtype == grads.dtype == np.float64
    np.testing.assert_array_equal(layer.weight.value, value)
    assert np.shares_memory(layer.weight.value, values) and not grads.any()


def test_an_arena_moves_once_and_its_replicas_with_it(model):
    replica = replica_of(model)
    arenas, twins = arenas_of(model), arenas_of(replica)
    model.wte.weight.grad += 3
    replica.wte.weight.grad += 4
    state, empty = model.state_dict(), Maker()
    for _ in range(2):
        for arena in arenas:
            arena.move(empty)
    assert len(empty.made) == 6 and arenas_of(model) is arenas and arenas_of(replica) is twins
    for each, expected in ((model, 3), (replica, 4)):
        np.testing.assert_array_equal(each.wte.weight.grad, expected)
        for name, p in each.named_parameters():
            np.testing.assert_array_equal(p.value, state[name])
            assert any(np.shares_memory(p.value, array) for array in empty.made)
            assert any(np.shares_memory(p.grad, array) for array in empty.made)
            assert name == "wte.weight" or not p.grad.any()
    for arena, twin in zip(arenas, twins, strict=True):
        assert twin.values is arena.values and twin.empty is arena.empty is empty
        assert not np.shares_memory(twin.grads, arena.grads)
    assert arenas_of(replica_of(model))[0].empty is empty and len(empty.made) == 8


def test_an_arena_is_blank_if_all_of_it_is(float64):
    layer = Linear(2, 3, device=float64)
    arena = Arena({"weight": layer.weight, "bias": layer.bias}, True)
    assert arena.is_blank()
    layer.bias.grad += 1
    assert not arena.is_blank()
    arena.zero()
    assert arena.is_blank()
    arena.mark_filled()
    assert not arena.is_blank()


def test_a_copy_of_a_model_has_no_part_in_its_arenas(model):
    arenas_of(model)
    twin = copy.deepcopy(model)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value)
        assert not np.shares_memory(p.value, q.value)
    arenas_of(twin)[0].values[...] = 7
    assert (twin.wte.weight.value == 7).all() and not (model.wte.weight.value == 7).any()


def test_blanks_are_filled_with_zeros_and_what_is_there_stays(float64):
    layer = Linear(2, 3, device=float64)
    other = Linear(2, 3, device=float64)
    layer.weight.grad += 5
    arena = Arena({"one": layer.weight, "two": other.weight}, True, empty=Maker())
    assert not layer.weight.grad_is_zero and other.weight.grad_is_zero
    arena.fill_blanks()
    assert not layer.weight.grad_is_zero and not other.weight.grad_is_zero
    np.testing.assert_array_equal(arena.grads, [5] * 6 + [0] * 6)


def test_what_somebody_else_has_written_is_not_taken_for_blank(float64):
    layer = Linear(2, 3, device=float64)
    arena, _ = arenas_of(layer)
    arena.zero()
    arena._grads[...] = 5  # as another process does
    assert layer.weight.grad_is_zero
    arena.mark_filled()
    assert not layer.weight.grad_is_zero
    np.testing.assert_array_equal(arena.grads, 5)
    arena.zero()
    np.testing.assert_array_equal(arena.grads, 0)
