import numpy as np
import pytest

from nanograd.layers.dropout import Dropout
from nanograd.layers.residual import ResidualLinear
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("ResidualLinear")
test_jacobian = jacobian_test("ResidualLinear")


def layer(device, dropout=0.0, bias=True):
    made = ResidualLinear(3, 4, bias, dropout=Dropout(dropout, device=device), device=device, std=1.0)
    if bias:
        made.bias.value[...] = [1, 2, 3, 4]
    return made


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 5), (2,), (1, 1)])
def test_adds_the_branch_to_the_stream(float64, shape, bias):
    rng = np.random.default_rng(0)
    h, x = rng.standard_normal((*shape, 3)), rng.standard_normal((*shape, 4))
    end, kept = layer(float64, bias=bias), x.copy()
    expected = h @ end.weight.value + (end.bias.value if bias else 0)
    np.testing.assert_allclose(end(h), expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(end(h, x), x + expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(x, kept)


def test_dropout_drops_the_branch_with_its_bias_and_nothing_of_the_stream(float64):
    end = layer(float64, dropout=0.5)
    h, x = np.random.default_rng(0).standard_normal((6, 7, 3)), np.full((6, 7, 4), 100.0)
    branch = h @ end.weight.value + end.bias.value
    end.dropout.rng.begin_step(0)
    dropped = end(h, x) == 100
    assert 0.3 < dropped.mean() < 0.7
    end.dropout.rng.begin_step(0)
    np.testing.assert_allclose(end(h, x), np.where(dropped, 100, 100 + 2 * branch), rtol=1e-12)
    dy = np.ones((6, 7, 4))
    end.backward(dy)
    np.testing.assert_allclose(end.bias.grad, 2 * (~dropped).sum((0, 1)), rtol=1e-13)
    assert (dy == 1).all()
    np.testing.assert_allclose(end.eval()(h, x), 100 + branch, rtol=1e-12)


def test_has_a_bias_unless_told_otherwise(float64):
    made = ResidualLinear(3, 4, dropout=Dropout(0.0, device=float64), device=float64)
    assert sorted(name for name, _ in made.named_parameters()) == ["bias", "weight"]
