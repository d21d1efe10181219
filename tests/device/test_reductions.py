import numpy as np
import pytest

from nanograd.device.reductions import (
    add_positions,
    add_rows,
    constant_row,
    dot_channels,
    mean_channels,
    scale_rows,
    sum_channels,
    sum_positions,
)

SHAPES = [(1, 1), (1, 5), (2, 3), (3, 4), (8, 2), (6, 7), (64, 128), (96, 512)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_each_is_what_it_says(shape, dtype):
    rng = np.random.default_rng(0)
    x, row = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}
    y = x.copy()
    add_rows(y, row)
    np.testing.assert_array_equal(y, x + row)
    scale_rows(x, row, y)
    np.testing.assert_array_equal(y, x * row)
    total = row.copy()
    add_positions(x, total)
    np.testing.assert_array_equal(total, row + sum_positions(x))
    for function, expected in (
        (sum_positions(x), x.sum(0)),
        (sum_channels(x), x.sum(-1)),
        (mean_channels(x), x.mean(-1)),
        (dot_channels(x, 2 * x + 1), (x * (2 * x + 1)).sum(-1)),
    ):
        assert function.dtype == dtype
        np.testing.assert_allclose(function, expected, **close)


def test_dot_product_of_complex_rows_is_not_conjugated():
    np.testing.assert_array_equal(dot_channels(np.array([[1j, 2]]), np.array([[1j, 1]])), [1])


def test_rows_are_the_last_axis_of_any_array():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(sum_channels(x), x.sum(-1), rtol=1e-13)
    np.testing.assert_allclose(mean_channels(x), x.mean(-1), rtol=1e-13)
    np.testing.assert_allclose(dot_channels(x, x), (x * x).sum(-1), rtol=1e-13)


def test_a_constant_row_is_made_once():
    assert constant_row(3, 1.0, np.dtype("float32")) is constant_row(3, 1.0, np.dtype("float32"))
    assert constant_row(3, 0.5, np.dtype("float64")).tolist() == [0.5] * 3
