"""Device: what it is made of, what it refuses, and that a parameter starts alike everywhere."""

import numpy as np
import pytest

from nanograd import BackendUnavailable, Device
from nanograd.device import device as backend
from nanograd.device.device import fused, xp_of
from nanograd.layers.attention import Attention
from tests.support.gpu import array_stub


def test_xp_of():
    assert xp_of(np.zeros(1)) is np
    assert xp_of(array_stub.zeros(1)) is array_stub


@pytest.mark.parametrize("name", ["torch", "", "CUPY"])
def test_refuses_unknown_backends(name):
    with pytest.raises(ValueError, match="auto, numpy or cupy"):
        Device(name)


def test_the_seed_is_0_unless_given():
    assert (Device("numpy").seed, Device("numpy", seed=7).seed) == (0, 7)


def test_refuses_unknown_dtypes():
    with pytest.raises(ValueError, match="float32, float64, tf32, bfloat16, not 'float16'"):
        Device("numpy", "float16")


@pytest.mark.parametrize("dtype", backend.GPU_DTYPES)
def test_gpu_dtypes_need_a_gpu(monkeypatch, dtype):
    with pytest.raises(ValueError, match=f"dtype {dtype} needs the cupy backend"):
        Device("numpy", dtype)
    monkeypatch.setattr(backend, "find_cupy", lambda: ("no CuPy", None))
    with pytest.raises(BackendUnavailable, match=f"a GPU is needed for dtype {dtype}: no CuPy"):
        Device("auto", dtype)


@pytest.mark.parametrize("dtype", backend.GPU_DTYPES)
def test_gpu_dtypes_need_tensor_cores(monkeypatch, dtype):
    monkeypatch.setattr(array_stub.Device, "compute_capability", "75")
    assert Device(array_stub).precision == "float32"
    with pytest.raises(
        BackendUnavailable, match=f"dtype {dtype} needs a GPU of compute capability 8.0 or more, not 7.5"
    ):
        Device(array_stub, dtype)
    monkeypatch.setattr(array_stub.Device, "compute_capability", "79")  # the last below, if there were one
    with pytest.raises(BackendUnavailable, match=r"not 7\.9"):
        Device(array_stub, dtype)


def test_bfloat16_needs_a_cupy_that_knows_it(monkeypatch):
    monkeypatch.setattr(array_stub, "__version__", "13.6.0")
    assert Device(array_stub, "tf32").precision == "tf32"
    with pytest.raises(BackendUnavailable, match=r"dtype bfloat16 needs CuPy 14 or later, not 13\.6\.0"):
        Device(array_stub, "bfloat16")


def test_atomics_need_a_gpu(monkeypatch):
    assert not Device("numpy").atomics and Device(array_stub, atomics=True).atomics
    with pytest.raises(ValueError, match="atomics need the cupy backend"):
        Device("numpy", atomics=True)
    monkeypatch.setattr(backend, "find_cupy", lambda: ("no CuPy", None))
    with pytest.raises(BackendUnavailable, match="a GPU is needed for atomics: no CuPy"):
        Device("auto", atomics=True)
    with pytest.raises(BackendUnavailable, match="a GPU is needed for dtype tf32: no CuPy"):
        Device("auto", "tf32", atomics=True)


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(backend, "find_cupy", lambda: (None, array_stub))
    device = Device("auto")
    assert device.name == "cupy" and device.xp is array_stub
    assert device.describe() == "CuPy 14.0.0 on a GPU that is not there, float32"
    monkeypatch.setattr(backend, "find_cupy", lambda: ("no CuPy", None))
    assert Device("auto").name == "numpy"
    with pytest.raises(BackendUnavailable, match="no CuPy"):
        Device("cupy")


@pytest.mark.parametrize(
    ("dtype", "activations", "parameters"),
    [
        *[("float32", "float32", "float32"), ("float64", "float64", "float64")],
        *[("tf32", "float32", "float32"), ("bfloat16", "bfloat16", "float32")],
    ],
)
def test_dtypes(dtype, activations, parameters):
    device = Device(array_stub, dtype)
    assert device.dtype.name == device.empty(1).dtype.name == activations
    assert device.parameter_dtype.name == device.normal((2,), 1.0, 0).dtype.name == parameters
    assert device.zeros(1).dtype.name == device.full(1, 2).dtype.name == parameters
    parameter = device.zeros(3)
    example = device.example(parameter)
    assert example is parameter if activations == parameters else (example.size, example.dtype.name) == (0, activations)


def test_bfloat16_without_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BackendUnavailable, match="pip install ml_dtypes"):
        Device(array_stub, "bfloat16")


def test_parameters_start_alike_on_every_backend():
    host, device = Device("numpy", seed=4), Device(array_stub, seed=4)
    np.testing.assert_array_equal(host.normal((3, 2), 0.02, 7), device.normal((3, 2), 0.02, 7).get())
    assert not np.array_equal(host.normal((3, 2), 0.02, 7), host.normal((3, 2), 0.02, 8))


def test_ids_are_checked_on_the_host(gpu_xp, waits):
    device = Device(gpu_xp)
    waits()
    assert device.ids([[1, 2]], below=3).dtype == np.int32
    for bad, error in (([3], ValueError), ([-1], ValueError), ([0.5], TypeError)):
        with pytest.raises(error, match="token id"):
            device.ids(bad, below=3)
    assert not waits()


def test_bfloat16_comes_back_as_float32():
    device = Device(array_stub, "bfloat16")
    host = device.to_host(device.asarray(np.array([1.0, 2.5]), device.dtype))
    assert host.dtype == np.float32 and host.tolist() == [1.0, 2.5]
    for other in ("float16", "uint16", "float64"):
        assert device.to_host(array_stub.zeros(1, dtype=other)).dtype == other


def test_fused_dispatches_by_the_array(monkeypatch):
    @fused
    def twice(x):
        return "definition"

    monkeypatch.setitem(backend.KERNELS, "twice", lambda x: "kernel")
    assert twice(np.zeros(1)) == "definition" == twice.definition(None)
    assert twice(array_stub.zeros(1)) == "kernel"
    monkeypatch.delitem(backend.KERNELS, "twice")
    with pytest.raises(RuntimeError, match="no CUDA kernel of twice: import nanograd"):
        twice(array_stub.zeros(1))
    assert (twice.__name__, Attention.forward.__name__) == ("twice", "forward")


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 17])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_in_pieces_of_rows(monkeypatch, rows, transposed):
    monkeypatch.setattr(backend, "ROWS", 7)
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((rows, 3)), rng.standard_normal((3, 4))
    if transposed:
        a = np.asfortranarray(a)
    out = np.full((rows, 4), np.nan)
    Device("numpy").matmul(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("rows", "rows_of_out"), [(8, 7), (7, 8), (14, 7), (7, 14), (3, 2)])
def test_products_into_the_wrong_number_of_rows_are_refused(monkeypatch, rows, rows_of_out):
    monkeypatch.setattr(backend, "ROWS", 7)
    with pytest.raises(ValueError, match="mismatch"):
        Device("numpy").matmul(np.ones((rows, 3)), np.ones((3, 4)), np.empty((rows_of_out, 4)))
