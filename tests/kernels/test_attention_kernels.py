"""Attention's kernels against its definition, on a GPU or through tools/cuda_on_cpu."""

import numpy as np
import pytest

from gpt.sampling.cached_layers import cached_attention
from nanograd import Device, kernels
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.dropout import Dropout
from nanograd.optim.arena import arenas_of
from tests.support.gpu.both_devices import PRECISIONS, Maker, assert_close, in_every_order, stream_of

SHAPES = [(1, 1, 1, 1, 1), (2, 65, 2, 2, 8), (1, 130, 3, 3, 20), (1, 70, 1, 1, 64), (1, 33, 1, 1, 130)]  # B, T, H, K, D
SHAPES += [(2, 65, 6, 2, 8), (1, 70, 3, 1, 20)]
ATTENTION = [(p, *shape) for p in (0.0, 0.3) for shape in SHAPES]
# Each number of channels is a program of its own, and so is each with dropout, which take long to compile.
ATTENTION = [a if not a[0] or a[-1] < 10 else pytest.param(*a, marks=pytest.mark.slow) for a in ATTENTION]


@pytest.mark.parametrize("precision", [*PRECISIONS, "tf32"])
@pytest.mark.parametrize(("p", "B", "T", "H", "K", "D"), ATTENTION)
def test_attention_forward_and_backward(gpu_xp, B, T, H, K, D, p, precision):
    rng = np.random.default_rng(T)
    device = Device(gpu_xp, precision)
    host = [rng.standard_normal(shape).astype(device.dtype) for shape in [(B, T, (H + 2 * K) * D), (B, T, H * D)]]
    results, positions = [], []
    for where in (Device("numpy", "float64"), device):
        stream = stream_of()
        attention = Attention(H, Dropout(p, device=where, rng=stream), where.precision == "tf32", K)
        qkv, dy = (where.asarray(a.astype(where.dtype)) for a in host)
        y = attention(qkv)
        results.append([np.array(where.to_host(a), dtype=np.float64) for a in (y, attention.backward(dy))])
        positions.append(stream.position)
    assert_close(*results, precision, "attention")
    assert positions[0] == positions[1]
    with pytest.raises(RuntimeError, match="forward"):
        attention.backward(dy)


@pytest.fixture
def one_block_a_head(monkeypatch):
    monkeypatch.setattr(kernels.attention, "fills", lambda blocks, multiprocessors: True)


@pytest.mark.parametrize(
    ("B", "T", "H", "K", "D", "p"),
    [
        *((1, 1, 1, 1, 64, 0.0), (2, 129, 2, 2, 64, 0.0), (1, 200, 2, 1, 40, 0.0)),
        pytest.param(1, 150, 2, 1, 64, 0.3, marks=pytest.mark.slow),
    ],
)
def test_backward_by_one_block_a_head(gpu_xp, one_block_a_head, B, T, H, K, D, p):
    rng, device = np.random.default_rng(T), Device(gpu_xp, "bfloat16")
    host = [rng.standard_normal(shape).astype(device.dtype) for shape in [(B, T, (H + 2 * K) * D), (B, T, H * D)]]
    results = []
    for where in (Device("numpy", "float64"), device):
        attention = Attention(H, Dropout(p, device=where, rng=stream_of()), n_kv_head=K)
        qkv, dy = (where.asarray(a.astype(where.dtype)) for a in host)
        dbias = where.full((qkv.shape[2],), 1.0)
        attention(qkv)
        found = attention.backward(dy, dbias), dbias
        results.append([np.array(where.to_host(a), dtype=np.float64) for a in found])
    assert_close(*results, "bfloat16", "one block a head")


def test_the_bias_of_queries_keys_and_values_is_added_up_by_heads(gpu_xp, one_block_a_head, monkeypatch):
    rng, results, device = np.random.default_rng(0), [], Device(gpu_xp, "bfloat16")
    x, *dys = (rng.standard_normal((2, 70, 128)).astype(device.dtype) for _ in range(3))
    shift = rng.standard_normal(3 * 128).astype(np.float32)
    monkeypatch.setattr(kernels.attention, "add_positions", None)
    for where in (Device("numpy", "float64"), device):
        layer = CausalSelfAttention(128, 2, device=where, bias=False, qkv_bias=True)
        bias, (_, vectors) = layer.c_attn.bias, arenas_of(layer)
        bias.value[...] = where.asarray(shift.astype(where.parameter_dtype))
        for dy in dys:  # the second is added to what the first one left
            layer(where.asarray(x.astype(where.dtype)))
            layer.backward(where.asarray(dy.astype(where.dtype)))
        results.append([np.array(where.to_host(vectors.grads), dtype=np.float64)])
    assert_close(*results, "bfloat16", "bias")


def test_one_block_a_head_does_not_depend_on_the_order_of_threads(gpu_xp, one_block_a_head, monkeypatch):
    device, rng = Device(gpu_xp, "bfloat16"), np.random.default_rng(0)
    qkv, dy = (device.asarray(rng.standard_normal((1, 140, n)).astype(device.dtype)) for n in (192, 64))
    attention = Attention(1, Dropout(0.0, device=device))
    attention(qkv)
    saved = attention._saved

    def compute():
        attention.remember(*saved)
        return [device.to_host(attention.backward(dy))]

    in_every_order(monkeypatch, compute)


@pytest.mark.parametrize("precision", [*PRECISIONS, "tf32"])
def test_attention_does_not_depend_on_the_order_of_threads(gpu_xp, monkeypatch, precision):
    device = Device(gpu_xp, precision)
    rng = np.random.default_rng(0)
    qkv, dy = (device.asarray(rng.standard_normal((2, 65, n)).astype(device.dtype)) for n in (48, 16))
    attention = Attention(2, Dropout(0.0, device=device), precision == "tf32")
    in_every_order(monkeypatch, lambda: [device.to_host(a) for a in (attention(qkv), attention.backward(dy))])


def test_attention_says_which_heads_are_too_wide(gpu_xp):
    device = Device(gpu_xp, "float32")
    attention = Attention(1, Dropout(0.0, device=device))
    with pytest.raises(ValueError, match=r"at most 256 channels, not 300"):
        attention(device.asarray(np.zeros((1, 2, 900), np.float32)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("start", "n"), [(0, 5), (3, 1), (66, 4)])
@pytest.mark.parametrize(("H", "K"), [(2, 2), (4, 2)])
def test_cached_attention(gpu_xp, H, K, start, n, precision):
    B, D = 2, 16
    m = Maker(Device(gpu_xp, precision), start + n)
    q, keys, values = m.act(B, n, H, D), m.act(B, K, 80, D), m.act(B, K, 80, D)
    results = []
    for side in range(2):
        kept = (cache[side][:, :, : start + n] for cache in (keys, values))
        y = cached_attention(q[side].swapaxes(1, 2), *kept, start)
        results.append([np.asarray(y.get() if side else y, dtype=np.float64)])
    assert_close(*results, precision, "cached attention")
