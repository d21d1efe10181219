"""Attention's kernels against its definition, on a GPU or through tools/cuda_on_cpu."""

import numpy as np
import pytest

from gpt.sampling.cached_layers import cached_attention
from nanograd import Device
from nanograd.layers.attention import Attention
from nanograd.layers.dropout import Dropout
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
