import numpy as np

from nanograd import Device
from nanograd.layers.linear import Linear
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("Linear")
test_jacobian = jacobian_test("Linear")


def test_values_worked_by_hand(float64):
    layer = Linear(2, 3, device=float64)
    layer.weight.value[...] = [[1, 2, 3], [4, 5, 6]]
    layer.bias.value[...] = [0.5, 0, -0.5]
    np.testing.assert_array_equal(layer(np.array([[1.0, 10.0]])), [[41.5, 52, 62.5]])
    np.testing.assert_array_equal(layer.backward(np.array([[1.0, 0.0, -1.0]])), [[-2, -2]])
    np.testing.assert_array_equal(layer.weight.grad, [[1, 0, -1], [10, 0, -10]])
    np.testing.assert_array_equal(layer.bias.grad, [1, 0, -1])


def test_the_bias_is_left_to_a_caller_that_asks_for_it(float64):
    layer, x = Linear(2, 3, device=float64), np.ones((4, 2))
    layer.bias.value[...] = 1
    np.testing.assert_allclose(layer(x, add_bias=False) + 1, layer(x).copy(), rtol=1e-14)


def test_starts_normal_with_the_deviation_asked_for(float64):
    layer = Linear(300, 200, device=float64, std=0.02)
    assert abs(layer.weight.value.std() - 0.02) < 3e-4
    assert abs(layer.weight.value.mean()) < 3e-4
    assert not layer.bias.value.any()
    other = Linear(300, 200, device=float64, std=0.02, stream=1)
    assert not np.array_equal(layer.weight.value, other.weight.value)
    again = Linear(300, 200, device=Device("numpy", dtype="float32", seed=3), std=0.02)
    np.testing.assert_allclose(again.weight.value, layer.weight.value, rtol=1e-6)


def test_without_bias_there_is_none(float64):
    assert [name for name, _ in Linear(2, 3, False, device=float64).named_parameters()] == ["weight"]


def test_weights_start_as_those_of_the_first_stream(float64):
    np.testing.assert_array_equal(Linear(3, 2, device=float64).weight.value, float64.normal((3, 2), 0.02, 0))
