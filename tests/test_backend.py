"""Device on NumPy; what needs a GPU, or a stand-in for one, is tested beside it."""

import copy

import numpy as np
import pytest

from nanograd import Device
from nanograd.backend import fused, xp_of


def test_a_numpy_device_makes_arrays_of_its_dtype():
    for dtype in ("float32", "float64"):
        device = Device("numpy", dtype=dtype)
        assert device.name == "numpy" and device.xp is np and device.dtype == dtype
        for array in (
            device.empty((2, 3)),
            device.zeros((2, 3)),
            device.full((2, 3), 1),
            device.normal((2, 3), 1.0, 0),
        ):
            assert array.dtype == dtype and array.shape == (2, 3)
        assert not device.zeros((2, 3)).any() and (device.full((2,), 3) == 3).all()
        assert dtype in device.describe() and "NumPy" in device.describe()
        host = np.arange(3)
        assert device.to_host(device.asarray(host)) is host


@pytest.mark.parametrize(
    "arguments, message", [(("torch",), "backend must be"), (("numpy", "float16"), "dtype must be")]
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Device(*arguments)


def test_normal_numbers_depend_on_seed_and_stream_and_not_on_precision():
    def draw(seed=0, stream=0, dtype="float32"):
        return Device("numpy", dtype=dtype, seed=seed).normal((500, 40), 0.5, stream)

    base = draw()
    np.testing.assert_array_equal(draw(), base)
    assert not np.array_equal(draw(seed=1), base) and not np.array_equal(draw(stream=1), base)
    np.testing.assert_allclose(draw(dtype="float64"), base, rtol=1e-6)
    assert base.std() == pytest.approx(0.5, rel=0.02) and abs(base.mean()) < 0.01


def test_products_are_written_or_added():
    device = Device("numpy", dtype="float64")
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    out = np.full((2, 4), 7.0)
    device.matmul(a, b, out)
    np.testing.assert_array_equal(out, a @ b)
    device.matmul(a, b, out, add=True)
    np.testing.assert_array_equal(out, 2 * (a @ b))


def test_ids_are_checked():
    device = Device("numpy")
    np.testing.assert_array_equal(device.ids([[0, 4]], below=5), [[0, 4]])
    ids = np.array([1, 2], dtype=np.uint16)
    assert device.ids(ids, below=3) is ids
    assert device.ids(np.zeros((0,), dtype=int), below=1).size == 0
    for bad, error, message in (
        ([5], ValueError, r"token id 5 is outside \[0, 5\)"),
        ([0, -2], ValueError, "token id -2"),
        ([0.5], TypeError, "integers, not float64"),
    ):
        with pytest.raises(error, match=message):
            device.ids(bad, below=5)


def test_a_device_is_a_place_and_is_not_copied():
    device = Device("numpy")
    assert copy.deepcopy(device) is device


def test_fused_functions_are_their_definitions_on_numpy():
    @fused
    def double(x):
        """Twice x."""
        return 2 * x

    assert double(np.array([3]))[0] == 6 and double.__doc__ == "Twice x." and double.definition(4) == 8
    assert xp_of(np.ones(1)) is np
