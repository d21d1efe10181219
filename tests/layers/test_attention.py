import math

import numpy as np
import pytest

from nanograd import Device
from nanograd.gradcheck.check import check_layer
from nanograd.layers.attention import BLOCK, Attention, CausalSelfAttention, causal_mask
from nanograd.layers.dropout import Dropout
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from tests.support.battery import battery_test, jacobian_test
from tests.support.gpu import array_stub
from tests.support.marks import slow

test_attention_battery = battery_test("Attention")
test_attention_jacobian = jacobian_test("Attention")
test_causal_self_attention_battery = battery_test("CausalSelfAttention")
test_causal_self_attention_jacobian = jacobian_test("CausalSelfAttention")


def attention(n_head, device, dropout=0.0):
    return Attention(n_head, Dropout(dropout, device=device))


def by_loops(qkv, n_head, n_kv_head=None):
    """Attention as the formula has it, one position at a time."""
    K = n_kv_head or n_head
    B, T, channels = qkv.shape
    D = channels // (n_head + 2 * K)
    y = np.zeros((B, T, n_head * D))
    for b in range(B):
        for h in range(n_head):
            shared = h // (n_head // K)
            q, k, v = (qkv[b, :, i * D : (i + 1) * D] for i in (h, n_head + shared, n_head + K + shared))
            for t in range(T):
                scores = k[: t + 1] @ q[t] / math.sqrt(D)
                weights = np.exp(scores - scores.max())
                y[b, t, h * D : (h + 1) * D] = weights @ v[: t + 1] / weights.sum()
    return y


@pytest.mark.parametrize("T", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_is_the_formula_at_every_length(float64, T):
    qkv = np.random.default_rng(T).standard_normal((2, T, 12))
    np.testing.assert_allclose(attention(2, float64)(qkv), by_loops(qkv, 2), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("T", [1, 5, BLOCK + 1])
@pytest.mark.parametrize(("H", "K"), [(4, 2), (6, 2), (3, 1), (2, 2)])
def test_heads_in_a_row_share_keys_and_values(float64, H, K, T):
    qkv = np.random.default_rng(T).standard_normal((2, T, (H + 2 * K) * 3))
    layer = Attention(H, Dropout(0.0, device=float64), n_kv_head=K)
    np.testing.assert_allclose(layer(qkv), by_loops(qkv, H, K), rtol=1e-11, atol=1e-13)


def test_shared_keys_and_values_get_the_sum_of_the_gradients(float64):
    H, K, D, T = 6, 2, 4, BLOCK + 3
    rng = np.random.default_rng(0)
    shared, dy = rng.standard_normal((2, T, (H + 2 * K) * D)), rng.standard_normal((2, T, H * D))
    heads = shared.reshape(2, T, -1, D)
    repeated = np.concatenate([heads[:, :, :H], heads[:, :, H:].repeat(H // K, axis=2)], axis=2).reshape(2, T, -1)
    few, many = Attention(H, Dropout(0.0, device=float64), n_kv_head=K), attention(H, float64)
    np.testing.assert_allclose(few(shared), many(repeated), rtol=1e-11, atol=1e-13)
    d_few, d_many = few.backward(dy).reshape(2, T, -1, D), many.backward(dy).reshape(2, T, -1, D)
    np.testing.assert_allclose(d_few[:, :, :H], d_many[:, :, :H], rtol=1e-10, atol=1e-12)
    summed = d_many[:, :, H:].reshape(2, T, 2 * K, H // K, D).sum(3)
    np.testing.assert_allclose(d_few[:, :, H:], summed, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("n_kv_head", [2, slow(1)])
def test_gradients_of_shared_heads_across_blocks_of_rows(float64, dropout, n_kv_head):
    qkv = np.random.default_rng(0).standard_normal((1, BLOCK + 2, (2 + 2 * n_kv_head) * 2))
    layer = Attention(2, Dropout(dropout, device=float64), n_kv_head=n_kv_head)
    report = check_layer(layer, qkv, samples=20, tolerance=1e-11)
    assert report.ok, report


@pytest.mark.slow
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


def test_columns_are_queries_then_keys_then_values_rotated_and_normalised(float64):
    norms = RMSNorm(4, device=float64), RMSNorm(4, device=float64)
    layer = CausalSelfAttention(6, 4, n_kv_head=2, head_dim=4, device=float64, rope=RoPE(4), qk_norm=norms)
    assert layer.c_attn.weight.widths == (16, 8, 8)
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    assert shapes == {
        "c_attn.weight": (6, 32),
        "q_norm.weight": (4,),
        "k_norm.weight": (4,),
        "c_proj.weight": (16, 6),
        "c_proj.bias": (6,),
    }
    rng = np.random.default_rng(0)
    for p in layer.parameters():
        p.value[...] += rng.standard_normal(p.shape)
    x = rng.standard_normal((2, 5, 6))
    heads = (x @ layer.c_attn.weight.value).reshape(2, 5, 8, 4)
    for start in (0, 3):
        q, k = (
            RoPE(4)(norm(part), start) for norm, part in zip(norms, (heads[:, :, :4], heads[:, :, 4:6]), strict=True)
        )
        qkv = np.concatenate([q, k, heads[:, :, 6:]], axis=2).reshape(2, 5, 32)
        np.testing.assert_allclose(layer.queries_keys_values(x, start), qkv, rtol=1e-12, atol=1e-14)
        if start == 0:
            expected = by_loops(qkv, 4, 2) @ layer.c_proj.weight.value + layer.c_proj.bias.value
            np.testing.assert_allclose(layer(x), expected, rtol=1e-11, atol=1e-13)


def test_heads_that_do_not_divide_the_channels_or_each_other_are_refused(float64):
    with pytest.raises(ValueError, match="multiple"):
        CausalSelfAttention(6, 4, device=float64)
    with pytest.raises(ValueError, match="n_head 4 is not a multiple of n_kv_head 3"):
        CausalSelfAttention(8, 4, n_kv_head=3, device=float64)


@pytest.mark.parametrize(
    ("n_kv_head", "shape", "expected"),
    [
        (None, (2, 3, 4), r"\(2, 3, 4\), expected \(B, T, 3C\), C a multiple of 2"),
        (None, (3, 6), r"\(3, 6\), expected \(B, T, 3C\)"),
        (1, (2, 3, 6), r"\(2, 3, 6\), expected \(B, T, \(2 \+ 2 \* 1\) D\)"),
    ],
)
def test_another_shape_is_refused(n_kv_head, shape, expected):
    with pytest.raises(ValueError, match=f"^Attention: qkv has shape {expected}"):
        Attention(2, n_kv_head=n_kv_head)(np.ones(shape))


def test_without_a_dropout_nothing_is_dropped():
    qkv = np.random.default_rng(0).standard_normal((2, 5, 12))
    np.testing.assert_array_equal(Attention(2)(qkv), Attention(2, Dropout(0.0))(qkv))


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
