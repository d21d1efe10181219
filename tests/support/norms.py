"""What every norm promises beside right gradients: tests for LayerNorm and RMSNorm alike, each made for one of them."""

import numpy as np
import pytest

from nanograd import Device


def eps_test(norm):
    """A test that eps stands inside the root."""

    def test(float64):
        x = np.array([[1.0, -1.0]])
        np.testing.assert_allclose(norm(2, device=float64, eps=3.0)(x), x / 2, rtol=1e-15)
        np.testing.assert_allclose(norm(2, device=float64)(x), x / np.sqrt(1 + 1e-5), rtol=1e-15)

    return test


def precision_test(norm):
    """A test that float32 gives nearly what float64 does, far from 0 too."""

    @pytest.mark.parametrize("offset, bound", [(0, 1e-6), (100, 1e-4)])
    def test(offset, bound):
        rng = np.random.default_rng(1)
        x, dy = rng.standard_normal((2, 2, 64, 128)) + np.array([offset, 0]).reshape(2, 1, 1, 1)
        results = []
        for dtype in ("float32", "float64"):
            layer = norm(128, device=Device("numpy", dtype=dtype))
            y = layer(x.astype(dtype)).copy()
            dx = layer.backward(dy.astype(dtype)).copy()
            results.append((y, dx, *(parameter.grad for parameter in layer.parameters())))
        for single, double in zip(*results, strict=True):
            assert single.dtype == np.float32
            assert np.abs(single - double).max() <= bound * np.abs(double).max()

    return test


def residual_test(norm):
    """A test that backward adds a residual to dx and to nothing else."""

    def test(float64):
        rng = np.random.default_rng(0)
        x, dy, residual = (rng.standard_normal((2, 3, 4)) for _ in range(3))
        alone, beside = norm(4, device=float64), norm(4, device=float64)
        for layer in (alone, beside):
            layer(x)
        kept = residual.copy()
        expected = residual + alone.backward(dy)
        np.testing.assert_array_equal(beside.backward(dy, residual), expected)
        for one, other in zip(beside.parameters(), alone.parameters(), strict=True):
            np.testing.assert_array_equal(one.grad, other.grad)
        np.testing.assert_array_equal(residual, kept)

    return test
