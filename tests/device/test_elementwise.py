import numpy as np
import pytest

from nanograd.device.elementwise import add, cast, multiply


@pytest.mark.parametrize("place", ["elsewhere", "x", "y"])
def test_sum_and_product(place):
    for function, expected in ((add, [11.0, 22.0]), (multiply, [10.0, 40.0])):
        arrays = {"x": np.array([1.0, 2.0]), "y": np.array([10.0, 20.0]), "elsewhere": np.empty(2)}
        function(arrays["x"], arrays["y"], arrays[place])
        np.testing.assert_array_equal(arrays[place], expected)


def test_sum_with_a_row_for_all_samples():
    x, out = np.zeros((2, 3, 2)), np.empty((2, 3, 2))
    add(x, np.arange(6.0).reshape(3, 2), out)
    np.testing.assert_array_equal(out, np.broadcast_to(np.arange(6.0).reshape(3, 2), (2, 3, 2)))


def test_cast_rounds_to_the_narrower_type():
    out = np.empty(2, dtype=np.float32)
    cast(np.array([0.1, 1e-50]), out)
    np.testing.assert_array_equal(out, np.array([0.1, 0.0], dtype=np.float32))
