import numpy as np
import pytest

from nanograd import Device, Parameter
from nanograd.device.cuda import find_cupy


def test_gradient_is_zero_until_something_arrives_and_after_zero_grad():
    parameter = Parameter(np.ones((2, 2)))
    np.testing.assert_array_equal(parameter.grad, np.zeros((2, 2)))
    parameter.grad += 3
    held = parameter.grad
    parameter.zero_grad()
    np.testing.assert_array_equal(parameter.grad, 0)
    assert parameter.grad is held
    parameter.grad = np.full((2, 2), 5.0)
    np.testing.assert_array_equal(held, 5)
    assert parameter.shape == (2, 2)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def test_products_are_added_to_what_is_there(backend):
    if backend == "cupy" and (problem := find_cupy()[0]):
        pytest.skip(problem)
    device = Device(backend, "float64")
    parameter = Parameter(device.full((2, 2), 1))
    a, b = (np.arange(6.0).reshape(shape) for shape in ((2, 3), (3, 2)))
    on_device = device.asarray(a), device.asarray(b)
    for times in (1, 2, 3):
        parameter.add_product(device, *on_device)
        np.testing.assert_array_equal(device.to_host(parameter.grad), times * (a @ b))
    held = parameter.grad
    parameter.zero_grad()
    parameter.add_product(device, *on_device)
    assert parameter.grad is held and not parameter.grad_is_zero
    np.testing.assert_array_equal(device.to_host(held), a @ b)
    parameter.grad += device.full((2, 2), 5)
    parameter.add_product(device, *on_device)
    np.testing.assert_array_equal(device.to_host(held), 2 * (a @ b) + 5)
