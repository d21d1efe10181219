"""The symmetry of the Hessian that a backward pass implies: right layers have it, most wrong ones do not."""

import numpy as np
import pytest

from gpt.gradcheck import GPTS, gpt_case
from nanograd import Device, Layer, Parameter
from nanograd.gradcheck import check_layer, check_symmetry
from nanograd.gradcheck.table import layer_cases
from nanograd.layers import Dropout, Linear, ReLU
from tests.support.marks import slow

CASES = {name: (layer, inputs) for name, layer, inputs in layer_cases(np.random.default_rng(5))}
X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("name", CASES)
def test_every_layer(name):
    layer, inputs = CASES[name]
    report = check_symmetry(layer, *inputs, seed=1)
    assert report.ok and report.error < 1e-14, report


@pytest.mark.parametrize("name", [slow(name) if i % 2 else name for i, name in enumerate(GPTS)])
def test_whole_models(name):
    model, idx, targets, _ = gpt_case(GPTS[name], np.random.default_rng(3))
    before = {n: (p.value, p.value.copy()) for n, p in model.named_parameters()}
    report = check_symmetry(model, idx, targets, spread=0.3)
    assert report.ok and report.error < 1e-13, report
    assert report.compared == (2 * len(before)) * (2 * len(before) - 1) // 2
    for n, p in model.named_parameters():
        assert p.value is before[n][0] and np.array_equal(p.value, before[n][1]), "the model is left as it was"


class Square(Layer):
    """y = (x W) * s, with a mistake that a test plants."""

    def __init__(self):
        self.weight = Parameter(np.random.default_rng(1).standard_normal((4, 4)))
        self.gain = Parameter(np.ones(4))

    def forward(self, x):
        self.remember(x, x @ self.weight.value)
        return (x @ self.weight.value) * self.gain.value

    def backward(self, dy):
        x, h = self.recall()
        self.gain.grad += (dy * h).sum(0)
        dh = dy * self.gain.value
        self.weight.grad += x.T @ dh
        return self.dx(dh)

    def dx(self, dh):
        return dh @ self.weight.value.T


@pytest.mark.parametrize(
    ("mistake", "pair"),
    [
        (lambda self, dh: dh @ self.weight.value, {"x"}),  # a transpose forgotten
        (lambda self, dh: 2 * (dh @ self.weight.value.T), {"x", "weight"}),  # a factor in one of the gradients
        (lambda self, dh: (dh / self.gain.value) @ self.weight.value.T, {"x", "gain"}),
    ],
)
def test_what_is_the_gradient_of_nothing_is_seen(monkeypatch, mistake, pair):
    assert check_symmetry(Square(), X).ok
    monkeypatch.setattr(Square, "dx", mistake)
    report = check_symmetry(Square(), X)
    assert not report.ok and report.error > 1e-3 and "gradient of no function" in str(report)
    assert set(report.pair) & pair, report
    assert not check_layer(Square(), X).ok


def test_a_transposed_jacobian_without_parameters_is_seen():
    class Fixed(Layer):
        matrix = np.random.default_rng(2).standard_normal((4, 4))

        def forward(self, x):
            return x @ self.matrix

        def backward(self, dy):
            return dy @ self.matrix

    assert check_symmetry(Fixed(), X).error > 1e-3


def test_the_gradient_of_another_function_is_not_seen():
    class Doubled(Square):
        def backward(self, dy):
            return super().backward(2 * dy)

    assert check_symmetry(Doubled(), X).ok and not check_layer(Doubled(), X).ok


def test_a_point_on_a_kink_is_moved_off_it():
    x = np.zeros((2, 3))
    assert check_symmetry(ReLU(), x).ok
    assert (x == 0).all()


def test_masks_are_held_fixed():
    dropout = Dropout(0.5, device=Device("numpy", dtype="float64"))
    assert check_symmetry(dropout, X).ok


class Real(Linear):
    def backward(self, dy):
        return super().backward(np.asarray(dy, dtype=float))


def test_what_takes_no_complex_numbers_is_refused():
    with pytest.raises(TypeError, match="Real: its passes do not take complex numbers"):
        check_symmetry(Real(4, 2, device=Device("numpy", dtype="float64")), X)
    with pytest.raises(TypeError, match="needs a nanograd Layer"):
        check_symmetry(lambda x: x, X)


def test_nan_is_never_symmetric(monkeypatch):
    monkeypatch.setattr(Square, "dx", lambda self, dh: dh * np.nan)
    assert check_symmetry(Square(), X).error == np.inf
