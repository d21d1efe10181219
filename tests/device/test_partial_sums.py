"""Parts of sums wait side by side until one of the gradients is read. NumPy's arrays stand for those of a GPU."""

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from nanograd import Device
from nanograd.device import partial_sums
from nanograd.device.parameter import Parameter
from nanograd.device.partial_sums import ROWS, SLABS, PartialSums, Parts
from nanograd.device.reductions import add_positions
from nanograd.optim.arena import arenas_of
from tests.support.gpu.both_devices import assert_close


@pytest.fixture
def three(monkeypatch):
    """Three parameters of two numbers in an arena, and the columns and `add` of each launch that adds up."""
    grads, launches = np.full(6, 7.0), []
    sums = PartialSums(grads)
    parameters = [Parameter(np.zeros(2)) for _ in range(3)]
    for i, parameter in enumerate(parameters):
        where = slice(2 * i, 2 * i + 2)
        parameter.move(parameter.value, grads[where], Parts(sums, parameter, where))

    add_parts = partial_sums.add_parts

    def noted(parts, total, add):
        launches.append((total.size, add))
        add_parts(parts, total, add)

    monkeypatch.setattr(partial_sums, "add_parts", noted)
    return parameters, launches


def leave(parameter, value, rows=2 * ROWS):
    """What a kernel does with parts: `value` in each of them."""
    place = parameter.accumulator
    slabs = place.sums.slabs(rows)
    _, add = place.take()
    where = place.sums.array[:, place.where]
    where[...] = where + value if add else value
    return slabs


@pytest.mark.parametrize(
    ("rows", "slabs"), [(1, 1), (ROWS, 1), (ROWS + 1, 2), (ROWS * SLABS, SLABS), (ROWS * SLABS * 9, SLABS)]
)
def test_so_many_parts(three, rows, slabs):
    assert leave(three[0][0], 1.0, rows) == slabs
    assert leave(three[0][1], 1.0, 3 * ROWS) == slabs, "the first one decides"


def test_all_that_wait_are_added_up_at_once_when_one_is_read(three):
    parameters, launches = three
    for i, parameter in enumerate(parameters):
        leave(parameter, 1.0 + i)
        assert not parameter.grad_is_zero
    assert launches == []
    np.testing.assert_array_equal([p.grad for p in parameters], [[2, 2], [4, 4], [6, 6]])
    assert launches == [(6, False)]


def test_what_is_left_twice_adds_up_and_so_does_what_was_there(three):
    parameters, launches = three
    leave(parameters[0], 1.0)
    leave(parameters[0], 2.0)
    np.testing.assert_array_equal(parameters[0].grad, [6, 6])
    leave(parameters[0], 1.0)
    parameters[0].grad += 1
    np.testing.assert_array_equal(parameters[0].grad, [9, 9])
    assert launches == [(2, False), (2, True)]


def test_only_neighbours_that_are_alike_share_a_launch(three):
    parameters, launches = three
    parameters[1].grad[...] = 5
    for parameter in parameters:
        leave(parameter, 1.0)
    np.testing.assert_array_equal([p.grad for p in parameters], [[2, 2], [7, 7], [2, 2]])
    assert launches == [(2, False), (2, True), (2, False)]
    leave(parameters[0], 1.0)
    leave(parameters[2], 1.0)
    np.testing.assert_array_equal([p.grad for p in parameters], [[4, 4], [7, 7], [4, 4]])


def test_zero_grad_forgets_what_waits(three):
    parameters, launches = three
    leave(parameters[0], 1.0)
    leave(parameters[1], 1.0)
    parameters[0].zero_grad()
    np.testing.assert_array_equal([p.grad for p in parameters], [[0, 0], [2, 2], [0, 0]])
    assert launches == [(2, False)]


def test_parts_of_one_of_three_vectors_on_a_gpu(gpu_xp):
    device, rng = Device(gpu_xp, "float64"), np.random.default_rng(0)
    x, grads = rng.standard_normal((150, 40)), device.full((120,), 7.0)
    sums = PartialSums(grads)
    parameters = [Parameter(device.zeros((40,))) for _ in range(3)]
    parts = [Parts(sums, p, slice(40 * i, 40 * i + 40)) for i, p in enumerate(parameters)]
    add_positions(device.asarray(x), parts[1])
    sums.add_up()
    expected = np.full((3, 40), 7.0)
    expected[1] = x.sum(0)
    assert_close([expected.ravel()], [device.to_host(grads)], "float64", "parts")


@pytest.mark.parametrize(
    "options", [{"activation": "gelu", "qkv_bias": True}, {"norm": "rmsnorm", "qk_norm": "rms_weight"}]
)
def test_gradients_on_a_gpu_are_those_of_numpy(gpu_xp, options):
    config = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16, **options)
    rng, results = np.random.default_rng(0), []
    batches = rng.integers(0, 11, (3, 2, 17, 8))  # 136 positions: three slabs
    for device in (Device("numpy", "float64"), Device(gpu_xp, "float64")):
        model = GPT(config, device)
        arenas, found = arenas_of(model), []
        for number, (x, y) in enumerate(batches):
            model(x, y)
            model.backward()
            if number == 1:
                found.append(model.ln_f.weight.grad.copy())
        found += [arena.grads.copy() for arena in arenas]
        model(*batches[0])
        model.backward()
        model.zero_grad()
        model(*batches[1])
        model.backward()
        found += [arena.grads.copy() for arena in arenas]
        results.append([np.asarray(device.to_host(a)) for a in found])
    assert_close(*results, "float64", "gradients")
