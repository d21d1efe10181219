import math

import numpy as np
import pytest

from nanograd import Device
from nanograd.gradcheck.check import check_layer
from nanograd.layers.attention import BLOCK, Attention, CausalSelfAttention, causal_mask
from nanograd.layers.dropout import Dropout
from tests.support import array_stub
from tests.support.battery import battery_test, jacobian_test

test_attention_battery = battery_test("Attention")
test_attention_jacobian = jacobian_test("Attention")
test_causal_self_attention_battery = battery_test("CausalSelfAttention")
test_causal_self_attention_jacobian = jacobian_test("CausalSelfAttention")


def attention(n_head, device, dropout=0.0):
    return Attention(n_head, Dropout(dropout, device=device))


def by_loops(qkv, n_head):
    """Attention as the formula has it, one position at a time."""
    B, T, C3 = qkv.shape
    C, D = C3 // 3, C3 // 3 // n_head
    y = np.zeros((B, T, C))
    for b in range(B):
        for h in range(n_head):
            q, k, v = (qkv[b, :, i * C + h * D : i * C + (h + 1) * D] for i in range(3))
            for t in range(T):
                scores = k[: t + 1] @ q[t] / math.sqrt(D)
                weights = np.exp(scores - scores.max())
                y[b, t, h * D : (h + 1) * D] = weights @ v[: t + 1] / weights.sum()
    return y


@pytest.mark.parametrize("T", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_is_the_formula_at_every_length(float64, T):
    qkv = np.random.default_rng(T).standard_normal((2, T, 12))
    np.testing.assert_allclose(attention(2, float64)(qkv), by_loops(qkv, 2), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_across_blocks_of_rows(float64, dropout):
    qkv = np.random.default_rng(0).standard_normal((2, 2 * BLOCK + 2, 6))
    report = check_layer(attention(1, float64, dropout), qkv, samples=20, tolerance=1e-11)
    assert report.ok, report


def test_no_position_sees_the_future(float64):
    T = BLOCK + 6
    qkv = np.random.default_rng(0).standard_normal((1, T, 6))
    layer = attention(2, float64)
    before = layer(qkv).copy()
    for t in (0, 3, BLOCK - 1, BLOCK, T - 2):
        changed = qkv.copy()
        changed[:, t + 1 :] += 5
        # to rounding: scores that grow large are shifted before exp, wherever in the array they stand
        np.testing.assert_allclose(layer(changed)[:, : t + 1], before[:, : t + 1], rtol=1e-13, atol=1e-14)
    dy = np.zeros_like(before)
    layer(qkv)
    dy[:, 4] = 1
    dqkv = layer.backward(dy)
    assert not dqkv[:, 5:].any()
    assert dqkv[:, :5, 2:].any(axis=-1).all()


def test_the_mask_is_minus_infinity():
    mask = causal_mask(3, np.dtype("float32"))
    inf = np.inf
    np.testing.assert_array_equal(mask, [[0, -inf, -inf], [0, 0, -inf], [0, 0, 0]])


def test_first_position_attends_to_itself_alone(float64):
    qkv = np.random.default_rng(0).standard_normal((1, 3, 6)) * 100
    np.testing.assert_allclose(attention(1, float64)(qkv)[0, 0], qkv[0, 0, 4:], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_enormous_scores(dtype):
    rng = np.random.default_rng(0)
    layer = attention(1, Device("numpy", dtype=dtype))
    for scale in (1e2, 1e4):
        qkv = (rng.standard_normal((1, 5, 6)) * scale).astype(dtype)
        y = layer(qkv)
        assert np.isfinite(y).all()
        np.testing.assert_allclose(y, by_loops(qkv.astype(np.float64), 1), rtol=1e-3)
        assert np.isfinite(layer.backward(np.ones_like(y))).all()


@pytest.mark.slow
def test_long_context_in_float32_is_near_float64(float64):
    qkv = np.random.default_rng(0).standard_normal((1, 2048, 3 * 16)) * 2
    dy = np.random.default_rng(1).standard_normal((1, 2048, 16))
    double, single = attention(2, float64), attention(2, Device("numpy", dtype="float32"))
    y, y32 = double(qkv), single(qkv.astype(np.float32))
    dx, dx32 = double.backward(dy), single.backward(dy.astype(np.float32))
    assert y32.dtype == dx32.dtype == np.float32
    assert np.abs(y - y32).max() < 1e-5 * np.abs(y).max()
    assert np.abs(dx - dx32).max() < 1e-5 * np.abs(dx).max()


def test_dropout_of_weights_is_off_in_evaluation(float64):
    qkv = np.random.default_rng(0).standard_normal((1, 6, 6))
    layer = attention(1, float64, dropout=0.5)
    dropped = layer(qkv).copy()
    assert not np.allclose(dropped, by_loops(qkv, 1))
    np.testing.assert_allclose(layer.eval()(qkv), by_loops(qkv, 1), rtol=1e-13)


def test_one_noise_for_the_whole_layer(float64):
    layer = CausalSelfAttention(4, 2, device=float64, dropout=0.5)
    assert layer.heads.dropout.rng is layer.c_proj.dropout.rng


def test_shapes_names_and_biases(float64):
    shapes = {name: p.shape for name, p in CausalSelfAttention(4, 2, device=float64).named_parameters()}
    assert shapes == {"c_attn.weight": (4, 12), "c_proj.weight": (4, 4), "c_proj.bias": (4,)}
    names = dict(CausalSelfAttention(4, 2, device=float64, bias=False, qkv_bias=True).named_parameters()).keys()
    assert names == {"c_attn.weight", "c_attn.bias", "c_proj.weight"}


def test_heads_that_do_not_divide_the_channels_are_refused(float64):
    with pytest.raises(ValueError, match="multiple"):
        CausalSelfAttention(6, 4, device=float64)


def test_starts_normal_with_gpt2s_deviation(float64):
    layer = CausalSelfAttention(64, 2, device=float64)
    for linear in (layer.c_attn, layer.c_proj):
        assert linear.weight.value.std() == pytest.approx(0.02, rel=0.05)
    again = CausalSelfAttention(64, 2, device=float64, proj_std=0.5, stream=0)
    np.testing.assert_array_equal(again.c_attn.weight.value, layer.c_attn.weight.value)
    assert again.c_proj.weight.value.std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("precision", "rounded"), [("float32", False), ("float64", False), ("tf32", True)])
def test_products_are_rounded_to_tf32_only_where_that_was_asked_for(precision, rounded):
    layer = CausalSelfAttention(8, 2, device=Device(array_stub, precision))
    assert layer.heads.tf32 is rounded
    assert Attention(2, layer.heads.dropout).tf32 is False
