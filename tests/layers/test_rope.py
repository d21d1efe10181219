import math

import numpy as np
import pytest

from nanograd import Device
from nanograd.layers import rope as rope_module
from nanograd.layers.rope import RoPE, rope_frequencies
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("RoPE")
test_jacobian = jacobian_test("RoPE")


def by_loops(x, theta, pair, start=0):
    """Every pair of channels turned in its plane; `pair(i)` says which two channels are pair i."""
    y = np.empty_like(x)
    D = x.shape[-1]
    for t in range(x.shape[1]):
        for i in range(D // 2):
            a, b = pair(i)
            angle = (start + t) * theta ** (-2 * i / D)
            c, s = math.cos(angle), math.sin(angle)
            y[:, t, :, a] = x[:, t, :, a] * c - x[:, t, :, b] * s
            y[:, t, :, b] = x[:, t, :, b] * c + x[:, t, :, a] * s
    return y


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_is_the_formula_in_both_layouts(layout, start):
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 8))
    pair = {"half": lambda i: (i, i + 4), "interleaved": lambda i: (2 * i, 2 * i + 1)}[layout]
    y = RoPE(8, layout, theta=100.0)(x, start)
    np.testing.assert_allclose(y, by_loops(x, 100.0, pair, start), rtol=1e-13, atol=1e-14)


def test_scores_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    q, k = (np.tile(rng.standard_normal(16), (1, 9, 1, 1)) for _ in range(2))
    scores = RoPE(16)(q)[0, :, 0] @ RoPE(16)(k)[0, :, 0].T
    for distance in range(-8, 9):
        along = np.diagonal(scores, distance)
        np.testing.assert_allclose(along, along[0], rtol=1e-12)
    assert np.ptp(scores[0]) > 0.1


def test_keeps_lengths_and_leaves_position_0_alone():
    x = np.random.default_rng(0).standard_normal((1, 6, 2, 10))
    y = RoPE(10)(x)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-14)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_backward_turns_back(layout):
    x = np.random.default_rng(0).standard_normal((2, 5, 1, 6))
    layer = RoPE(6, layout)
    np.testing.assert_allclose(layer.backward(layer(x, 7).copy()), x, rtol=1e-13, atol=1e-15)


def test_over_its_own_input_it_is_the_same():
    wide = np.random.default_rng(0).standard_normal((2, 5, 24))
    x = wide[:, :, :16].reshape(2, 5, 2, 8)  # with gaps, as queries and keys beside values
    kept, layer = wide[:, :, 16:].copy(), RoPE(8)
    expected = layer(x).copy()
    dexpected = layer.backward(x).copy()
    dx = x.copy()
    assert layer(x, inplace=True) is x
    np.testing.assert_array_equal(x, expected)
    assert layer.backward(dx, inplace=True) is dx
    np.testing.assert_array_equal(dx, dexpected)
    np.testing.assert_array_equal(wide[:, :, 16:], kept)


def test_tables_too_large_to_be_tiled_give_the_same(monkeypatch):
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 8))
    tiled = RoPE(8)(x, 2).copy()
    rope_module.tiled_tables.cache_clear()
    monkeypatch.setattr(rope_module, "LARGEST_TILED", 3 * 5 * 8 - 1)
    np.testing.assert_array_equal(RoPE(8)(x, 2), tiled)
    assert rope_module.tiled_tables(3, *RoPE(8)._which(2, 7, x))[0].shape == (5, 1, 8)
    rope_module.tiled_tables.cache_clear()


def test_angles_are_exact_in_float32_far_out():
    x = np.random.default_rng(0).standard_normal((1, 2, 1, 8))
    near = RoPE(8)(x, 10**6).copy()
    single = RoPE(8)(x.astype(np.float32), 10**6)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, near, rtol=0, atol=1e-6)


def test_linear_scaling_moves_positions_closer():
    x = np.random.default_rng(0).standard_normal((1, 13, 2, 6))
    scaled, plain = RoPE(6, scaling="linear", factor=4.0)(x), RoPE(6)
    for t in (0, 4, 12):
        np.testing.assert_allclose(scaled[:, t : t + 1], plain(x[:, t : t + 1], t // 4), rtol=1e-12, atol=1e-14)


def test_llama_3s_scaling_leaves_short_waves_and_slows_long_ones():
    plain = rope_frequencies(128, 5e5)
    scaled = rope_frequencies(128, 5e5, "llama3", factor=8.0, original_context=8192)
    waves = 2 * math.pi / plain
    short, long = waves < 8192 / 4, waves > 8192
    assert 0 < short.sum() < 64 and 0 < long.sum() < 64 and (~short & ~long).sum() > 0
    np.testing.assert_array_equal(scaled[short], plain[short])
    np.testing.assert_allclose(scaled[long], plain[long] / 8, rtol=1e-15)
    for f, wave, found in zip(plain, waves, scaled, strict=True):
        if 8192 / 4 <= wave <= 8192:
            smooth = (8192 / wave - 1) / (4 - 1)
            assert found == pytest.approx((1 - smooth) * f / 8 + smooth * f, rel=1e-13)
    assert (np.diff(scaled) < 0).all()


@pytest.mark.parametrize("dim", [1, 7, 0])
def test_refuses_what_has_no_pairs(dim):
    with pytest.raises(ValueError, match=f"even number of them, not {dim}"):
        RoPE(dim)


def test_refuses_names_that_it_does_not_know():
    with pytest.raises(ValueError, match="half or interleaved, not 'pairs'"):
        RoPE(4, "pairs")
    with pytest.raises(ValueError, match="none, linear or llama3, not 'yarn'"):
        RoPE(4, scaling="yarn")


def test_tables_are_in_the_precision_of_what_they_turn():
    for dtype in ("float32", "float64"):
        device = Device("numpy", dtype=dtype)
        cos, sin = RoPE(4).tables(0, 3, device.zeros((1,)))
        assert cos.dtype == sin.dtype == dtype and cos.shape == sin.shape == (3, 1, 4)
