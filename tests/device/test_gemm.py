"""gemm against NumPy's product, for every layout and precision; what it refuses."""

import numpy as np
import pytest

from nanograd import Device
from nanograd.device.device import xp_of
from nanograd.device.gemm import gemm, layout
from tests.support.gpu import array_stub

RNG = np.random.default_rng(0)
BOUNDS = {"float64": 1e-13, "float32": 1e-5, "tf32": 4e-3, "bfloat16": 1e-2}


def matrices(device, m, k, n, dtype=None):
    return [device.asarray(RNG.standard_normal(shape), dtype or device.dtype) for shape in ((m, k), (k, n))]


def numbers(array):
    return array.get().astype(np.float64)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(("m", "k", "n"), [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1), (33, 17, 65)])
def test_every_layout(gpu_xp, precision, m, k, n):
    device = Device(gpu_xp, precision)
    a, b = matrices(device, m, k, n)
    a_t, b_t = (device.asarray(np.ascontiguousarray(x.get().T)).T for x in (a, b))
    expected = numbers(a) @ numbers(b)
    for left in (a, a_t):
        for right in (b, b_t):
            out = device.empty((m, n))
            device.matmul(left, right, out)
            assert np.abs(numbers(out) - expected).max() <= BOUNDS[precision] * max(1, np.abs(expected).max())


@pytest.mark.parametrize("precision", BOUNDS)
def test_add_accumulates_in_the_precision_of_gradients(gpu_xp, precision):
    device = Device(gpu_xp, precision)
    a, b = matrices(device, 5, 6, 7)
    out = device.full((5, 7), 2.0)
    for _ in range(2):
        device.matmul(a, b, out, add=True)
    assert out.dtype == device.parameter_dtype
    expected = 2 + 2 * numbers(a) @ numbers(b)
    assert np.abs(numbers(out) - expected).max() <= BOUNDS["tf32" if precision == "tf32" else "float32"] * 20


def test_rows_of_a_larger_array_and_gaps(gpu_xp):
    device = Device(gpu_xp, "float64")
    a, b = matrices(device, 4, 6, 5)
    out = device.empty((4, 3))
    device.matmul(a[:, 1:4], b[::2, ::2], out)
    np.testing.assert_allclose(numbers(out), numbers(a)[:, 1:4] @ numbers(b)[::2, ::2], rtol=1e-12)


def spread(row, shape):
    return xp_of(row).broadcast_to(row, shape)


VIEWS = [  # of a matrix (4, 8), and its layout
    (lambda base: base, (0, 8)),
    (lambda base: base[:, :3], (0, 8)),
    (lambda base: base[:1, :3], (0, 8)),
    (lambda base: base[:, ::8], (0, 8)),
    (lambda base: base.T[:, :1], (0, 1)),
    (lambda base: base.T, (1, 8)),
    (lambda base: base[:3].T, (1, 8)),
    (lambda base: base[:1, ::2], (1, 2)),
    (lambda base: spread(base[0], (1, 8)), (0, 8)),
    (lambda base: base[:, ::4], None),
    (lambda base: base[::2, ::2], None),
    (lambda base: base[::-1], None),
    (lambda base: base[:, ::-1], None),
    (lambda base: base[:1, ::-1], None),
    (lambda base: spread(base[0], (4, 8)), None),
    (lambda base: spread(base[:, :1], (4, 8)), None),
]
BASE = np.arange(32.0).reshape(4, 8)


@pytest.mark.parametrize(("view", "expected"), VIEWS)
def test_what_blas_can_read_as_it_is(view, expected):
    array = array_stub.ndarray(view(BASE))
    if expected:
        assert layout(array) == expected
    else:
        with pytest.raises(ValueError, match="contiguous rows or columns"):
            layout(array)


@pytest.mark.parametrize("view", [view for view, _ in VIEWS])
def test_products_of_all_views(gpu_xp, view):
    """What BLAS cannot read, gemm copies."""
    device = Device(gpu_xp, "float64")
    array, host = view(device.asarray(BASE)), view(BASE)
    right = device.asarray(RNG.standard_normal((host.shape[1], 3)))
    left = device.asarray(RNG.standard_normal((3, host.shape[0])))
    for a, b, out in ((array, right, device.empty((len(host), 3))), (left, array, device.empty((3, host.shape[1])))):
        gemm(a, b, out)
        np.testing.assert_allclose(numbers(out), numbers(a) @ numbers(b), rtol=1e-12)


def test_a_product_is_stored_and_exact_unless_asked_otherwise(gpu_xp):
    device = Device(gpu_xp, "float32")
    a, b = matrices(device, 2, 3, 4)
    out = device.full((2, 4), np.nan)
    gemm(a, b, out)
    np.testing.assert_allclose(numbers(out), numbers(a) @ numbers(b), rtol=1e-5)  # TF32 has three digits
    gemm(a, b, out, tf32=True)
    assert abs(numbers(out) - numbers(a) @ numbers(b)).max() > 1e-5


def test_empty_products(gpu_xp):
    device = Device(gpu_xp, "float64")
    out = device.full((2, 3), 7.0)
    device.matmul(device.empty((2, 0)), device.empty((0, 3)), out, add=True)
    assert (out.get() == 7).all()
    device.matmul(device.empty((2, 0)), device.empty((0, 3)), out)
    assert (out.get() == 0).all()


def test_what_does_not_fit_is_refused():
    device = Device(array_stub, "float32")
    a, b = matrices(device, 2, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 3\) by \(2, 3\)"):
        gemm(a, a, device.empty((2, 3)))
    with pytest.raises(TypeError, match="float64"):
        gemm(a, b.astype("float64"), device.empty((2, 4)))
    whole = device.asarray(np.eye(2, dtype=np.int32))
    with pytest.raises(TypeError, match="cannot multiply int32 by int32 into int32"):
        gemm(whole, whole, whole)
    with pytest.raises(ValueError, match="stored by rows"):
        gemm(a, b, device.empty((4, 2)).T)
    with pytest.raises(ValueError, match="contiguous rows or columns"):
        layout(device.empty((4, 8))[::2, ::2])


def test_numpy_device():
    device = Device("numpy", "float64")
    a, b, out = np.eye(2), np.full((2, 2), 3.0), np.ones((2, 2))
    device.matmul(a, b, out, add=True)
    assert (out == 4).all()
    device.matmul(a, b, out)
    assert (out == 3).all()
