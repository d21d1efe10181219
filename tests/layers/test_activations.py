import math

import numpy as np
import pytest

from nanograd.layers.activations import ACTIVATIONS, GELU, ReLU, ReLUSquared
from tests.support.battery import battery_test, jacobian_test

test_relu_battery = battery_test("ReLU")
test_relu_jacobian = jacobian_test("ReLU")
test_relu_squared_battery = battery_test("ReLUSquared")
test_relu_squared_jacobian = jacobian_test("ReLUSquared")
test_gelu_battery = battery_test("GELU")
test_gelu_jacobian = jacobian_test("GELU")


def test_relu_at_and_around_zero():
    layer = ReLU()
    np.testing.assert_array_equal(layer(np.array([-2.0, -0.0, 0.0, 3.0])), [0, 0, 0, 3])
    np.testing.assert_array_equal(layer.backward(np.array([5.0, 5.0, 5.0, 5.0])), [0, 0, 0, 5])


@pytest.mark.parametrize("kind", ACTIVATIONS.values())
def test_nan_is_not_hidden(kind):
    layer, numbers = kind(), kind()
    y, expected = layer(np.array([[np.nan, 1.0, -1.0]])), numbers(np.array([[0.5, 1.0, -1.0]]))
    dx, slopes = layer.backward(np.array([[2.0, 3.0, 4.0]])), numbers.backward(np.array([[2.0, 3.0, 4.0]]))
    for found, other in ((y, expected), (dx, slopes)):
        assert np.isnan(found[0, 0])
        np.testing.assert_array_equal(found[0, 1:], other[0, 1:])


def test_gelu_is_gpt2s_tanh_form():
    x = np.linspace(-4, 4, 9)
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(GELU()(x), expected, rtol=1e-14, atol=1e-15)


def test_gelu_far_out_is_0_or_x_and_overflows_nowhere():
    for dtype in (np.float32, np.float64):
        layer = GELU()
        x = np.array([-1e4, -50, 50, 1e4], dtype=dtype)
        np.testing.assert_array_equal(layer(x), [0, 0, 50, 1e4])
        np.testing.assert_array_equal(layer.backward(np.ones_like(x)), [0, 0, 1, 1])


def test_names():
    assert {"relu": ReLU, "gelu": GELU, "relu2": ReLUSquared} == ACTIVATIONS


@pytest.mark.parametrize("inplace", [False, True])
def test_relu_squared_is_the_square_of_relu(inplace):
    layer, x, dy = ReLUSquared(), np.array([-2.0, 0.0, 0.5, 3.0]), np.array([5.0, 5.0, 5.0, 5.0])
    np.testing.assert_array_equal(layer(x, inplace=inplace), [0, 0, 0.25, 9])
    np.testing.assert_array_equal(layer.backward(dy, inplace=inplace), [0, 0, 5, 30])


@pytest.mark.parametrize("activation", [ReLU, ReLUSquared, GELU])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_bias_is_added_first(activation, inplace):
    rng = np.random.default_rng(0)
    (x, dy), bias = rng.standard_normal((2, 3, 2, 4)), rng.standard_normal(4)
    plain, biased, before = activation(), activation(), x.copy()
    expected = plain(x + bias).copy()
    np.testing.assert_array_equal(biased(x, bias=bias, inplace=inplace), expected)
    assert inplace or np.array_equal(x, before)
    np.testing.assert_array_equal(biased.backward(dy), plain.backward(dy))


@pytest.mark.parametrize("activation", [ReLU, ReLUSquared, GELU])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_that_is_only_read_has_the_same_activation(activation, dtype):
    x = np.linspace(-4, 4, 24).reshape(2, 3, 4).astype(dtype)
    expected = activation()(x).copy()
    x *= activation.BEFORE
    assert activation().activate(x) is x and x.dtype == dtype
    np.testing.assert_allclose(x * activation.AFTER, expected, rtol=0, atol=2e-6 if dtype == np.float32 else 1e-14)
