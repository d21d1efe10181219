import math

import numpy as np
import pytest

from nanograd.layers.swiglu import PIECE, GatedMLP, SwiGLU
from tests.support.battery import battery_test, jacobian_test

test_swiglu_battery = battery_test("SwiGLU")
test_swiglu_jacobian = jacobian_test("SwiGLU")
test_gated_mlp_battery = battery_test("GatedMLP")
test_gated_mlp_jacobian = jacobian_test("GatedMLP")


@pytest.mark.parametrize("inplace", [False, True])
def test_is_the_formula(inplace):
    gate, up = np.random.default_rng(0).standard_normal((2, 5, 7)) * 3
    expected = [[g / (1 + math.exp(-g)) * u for g, u in zip(*rows, strict=True)] for rows in zip(gate, up, strict=True)]
    np.testing.assert_allclose(SwiGLU()(gate, up, inplace=inplace), expected, rtol=1e-13)


@pytest.mark.parametrize("rows", [1, 64, 65, 130])
def test_pieces_make_the_whole(rows):
    gate, up = np.random.default_rng(0).standard_normal((2, rows, PIECE // 64))
    np.testing.assert_allclose(SwiGLU()(gate, up), gate / (1 + np.exp(-gate)) * up, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gate_far_out_is_shut_or_open_and_overflows_nowhere(dtype):
    layer = SwiGLU()
    gate, up = np.array([-1e4, -200, 50, 1e4], dtype=dtype), np.full(4, 2, dtype=dtype)
    np.testing.assert_array_equal(layer(gate, up), [0, 0, 100, 2e4])
    dgate, dup = layer.backward(np.ones(4, dtype=dtype))
    np.testing.assert_array_equal(dgate, [0, 0, 2, 2])
    np.testing.assert_array_equal(dup, [0, 0, 50, 1e4])


def test_shapes_and_names(float64):
    shapes = {name: p.shape for name, p in GatedMLP(3, 8, device=float64, bias=False).named_parameters()}
    assert shapes == {"c_gate.weight": (3, 8), "c_fc.weight": (3, 8), "c_proj.weight": (8, 3)}
    biases = {name for name, _ in GatedMLP(3, 8, device=float64).named_parameters()} - shapes.keys()
    assert biases == {"c_gate.bias", "c_fc.bias", "c_proj.bias"}


def test_the_gate_is_what_goes_through_silu(float64):
    layer = GatedMLP(3, 8, device=float64, bias=False)
    x = np.random.default_rng(0).standard_normal((2, 3))
    gate, up = x @ layer.c_gate.weight.value, x @ layer.c_fc.weight.value
    expected = (gate / (1 + np.exp(-gate)) * up) @ layer.c_proj.weight.value
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    np.testing.assert_allclose(layer(x, np.ones((2, 3))), 1 + expected, rtol=1e-12)


def test_starts_from_three_streams(float64):
    layer = GatedMLP(64, 100, device=float64, proj_std=0.5)
    gate, fc, proj = (w.weight.value for w in (layer.c_gate, layer.c_fc, layer.c_proj))
    assert gate.std() == pytest.approx(0.02, rel=0.05) and fc.std() == pytest.approx(0.02, rel=0.05)
    assert proj.std() == pytest.approx(0.5, rel=0.05)
    assert not np.allclose(gate, fc)
