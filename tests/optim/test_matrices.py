"""Which matrices there are, who makes which, and what goes through the steps together."""

import numpy as np
import pytest

from nanograd import Layer, Parameter
from nanograd.layers.embedding import LMHead
from nanograd.layers.linear import Linear
from nanograd.optim.arena import parts_of
from nanograd.optim.matrices import BATCH, Matrix, batches, clear, linear_weights, matrices_of, share_out


class Net(Layer):
    def __init__(self, device):
        self.table = Parameter(device.full((5, 4), 0.5))
        self.first = Linear(4, 6, device=device)
        self.first.weight.widths = (2, 1, 3)
        self.second = Linear(6, 4, device=device)
        self.lm_head = LMHead(7, 4, device=device, std=0.02, stream=3)
        self.third = Linear(4, 2, False, device=device)


def shaped(*shapes):
    return [Matrix(np.zeros(shape), None) for shape in shapes]


def shapes(matrices):
    return [matrix.u.shape for matrix in matrices]


def test_the_weights_of_linear_layers_and_no_others(float64):
    assert linear_weights(Net(float64)) == ["first.weight", "second.weight", "third.weight"]
    assert linear_weights(Linear(2, 3, device=float64)) == ["weight"]


def test_parts_are_as_few_as_can_be(float64):
    model = Net(float64)
    parts = parts_of(model, linear_weights(model))
    assert [[name for name, _, _ in part.parameters()] for part in parts] == [
        ["first.weight", "second.weight"],
        ["third.weight"],
    ]
    for part in parts:
        assert np.shares_memory(part.values, part.arena.values)
        for _, where, parameter in part.parameters():
            parameter.grad[...] = np.arange(parameter.grad.size).reshape(parameter.shape)
            np.testing.assert_array_equal(part.values[where], parameter.value.reshape(-1))
            np.testing.assert_array_equal(part.grads[where], parameter.grad.reshape(-1))
    assert parts_of(model, ()) == []


def test_matrices_are_views_side_by_side(float64):
    model = Net(float64)
    parts = parts_of(model, linear_weights(model))
    updates = [np.arange(part.values.size, dtype=float) for part in parts]
    squares = {"first.weight": np.arange(6.0)}
    matrices = matrices_of(parts, updates, squares)
    assert shapes(matrices) == [(4, 2), (4, 1), (4, 3), (6, 4), (4, 2)]
    np.testing.assert_array_equal(np.hstack([m.u for m in matrices[:3]]), updates[0][:24].reshape(4, 6))
    np.testing.assert_array_equal(matrices[3].u, updates[0][24:].reshape(6, 4))
    assert [None if m.v is None else m.v.tolist() for m in matrices] == [[0, 1], [2], [3, 4, 5], None, None]
    assert all(np.shares_memory(m.u, updates[0]) for m in matrices[:4]) and np.shares_memory(matrices[4].u, updates[1])
    clear([matrices[:1], matrices[2:]])
    assert updates[0].sum() == matrices[1].u.sum() > 0 and squares["first.weight"].tolist() == [0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_shares_cost_about_the_same_and_hold_everything_once(ranks, workers):
    matrices = shaped(*[(8, 8), (8, 32), (8, 8), (32, 8), (8, 8), (8, 8)] * 6)
    shares = [share for of_rank in share_out(matrices, ranks, workers) for share in of_rank]
    assert len(shares) == ranks * workers
    assert sorted(id(m) for share in shares for m in share) == sorted(map(id, matrices))
    costs = [sum(matrix.cost for matrix in share) for share in shares]
    assert max(costs) - min(costs) <= 2 * max(matrix.cost for matrix in matrices)
    for share in shares:
        assert shapes(share) == sorted(shapes(share)), "equal shapes are neighbours"


def test_shares_may_be_empty():
    assert share_out([], 1, 2) == [[[], []]]
    (one,) = shaped((2, 3))
    assert sorted(map(len, share_out([one], 1, 3)[0])) == [0, 0, 1]


def test_the_cost_does_not_depend_on_the_orientation():
    wide, tall, square = shaped((8, 32), (32, 8), (8, 8))
    assert wide.cost == tall.cost == 8 * 8 * (4 * 8 + 32) and square.cost == 8 * 8 * 5 * 8


def test_batches_hold_one_shape_and_fit_into_a_cache():
    n = 2 * BATCH // (256 * 128) + 1
    matrices = shaped(*[(8, 8)] * 3, *[(256, 128)] * n, (1024, 1024), (8, 8))
    found = [shapes(batch) for batch in batches(matrices)]
    size = BATCH // (256 * 128)
    assert found == [
        *([(8, 8)] * 3, [(256, 128)] * size, [(256, 128)] * size, [(256, 128)]),
        *([(1024, 1024)], [(8, 8)]),
    ]
    assert list(batches([])) == []
