"""What a report says: errors and what they are relative to, samples, and the printed lines."""

import numpy as np
import pytest

from nanograd import Layer, Parameter
from nanograd.gradcheck.check import check_layer
from tests.gradcheck.test_check import Affine, Hinge, X

# What an error is relative to


class Weighted(Layer):
    """y = x * large + small * 1e-6: derivatives of very different sizes, each gradient off by its `mistake`."""

    def __init__(self, **mistake):
        self.large, self.small = Parameter(np.array([1000.0])), Parameter(np.array([2.0]))
        self.mistake = mistake

    def forward(self, x):
        self.remember(x)
        return x * self.large.value + 1e-6 * self.small.value

    def backward(self, dy):
        x = self.recall()
        self.large.grad += (dy * x).sum() + self.mistake.get("large", 0) * dy.sum()
        self.small.grad += 1e-6 * dy.sum() * self.mistake.get("small", 1)
        return dy * self.large.value + self.mistake.get("x", 0) * dy


def errors(layer, **settings):
    report = check_layer(layer, np.array([4.0]), spread=0, rules=False, full=True, **settings)
    return {entry.name: entry.error for entry in report.entries}


def test_errors_are_relative_to_the_largest_derivative_by_the_same_array():
    assert errors(Weighted(x=1.0))["x"] == pytest.approx(1 / 1000)
    assert errors(Weighted(large=1.0))["large"] == pytest.approx(1 / 4)


def test_derivatives_next_to_nothing_are_measured_by_a_thousandth_of_the_largest():
    found = errors(Weighted(small=0))
    assert found["small"] == pytest.approx(1e-6 / (1e-3 * 1000)) and found["x"] < 1e-15


class Nothing(Layer):
    """0, whatever x."""

    def __init__(self, gradient=0.0):
        self.gradient = gradient

    def forward(self, x):
        return 0 * x

    def backward(self, dy):
        return 0 * dy + self.gradient


def test_where_all_derivatives_are_0_errors_are_absolute():
    assert errors(Nothing(), method="complex step")["x"] == 0
    assert errors(Nothing(0.25), method="complex step")["x"] == pytest.approx(0.25)


# A sample


class Spike(Layer):
    """y = x * weight, one element of the weight's gradient off by a millionth of it."""

    def __init__(self, index):
        self.weight, self.index = Parameter(np.ones(5000)), index

    def forward(self, x):
        self.remember(x)
        return x * self.weight.value

    def backward(self, dy):
        gradient = dy * self.recall()
        gradient[self.index] *= 1 + 1e-6
        self.weight.grad += gradient
        return dy * self.weight.value


def test_a_sample_looks_at_the_largest_gradients_and_names_the_place():
    x = np.ones(5000)
    x[321] = 1e5
    report = check_layer(Spike(321), x, spread=0, rules=False)
    by_x, by_weight = report.entries
    assert not report.full and by_x.error < 1e-12
    assert by_weight.worst == (321,) and by_weight.output is None
    assert by_weight.error == pytest.approx(1e-6, rel=1e-3)
    assert by_weight.backward == pytest.approx(by_weight.forward * (1 + 1e-6), rel=1e-9)
    for entry in report.entries:
        assert 4 + 4 <= entry.compared <= 4 + 8
    assert check_layer(Spike(321), x, spread=0, rules=False, samples=0).compared == 2


def test_the_jacobian_names_element_and_output():
    class Row(Affine):
        def backward(self, dy):
            x = self.recall()
            contributions = dy * x
            contributions[1, 2] *= 1.001
            self.scale.grad += contributions.sum(0)
            self.shift.grad += dy.sum(0)
            return dy * self.scale.value

    report = check_layer(Row(), X, rules=False)
    (entry,) = [entry for entry in report.entries if entry.error > report.tolerance]
    assert (entry.name, entry.worst, entry.output) == ("scale", (2,), 5)


def test_many_outputs_are_sampled_too():
    report = check_layer(Hinge(), np.linspace(-1, 1, 1501), rules=False)
    assert not report.full and report.ok, report


def test_no_elements_are_no_trouble():
    report = check_layer(Hinge(), np.empty((0, 3)))
    assert report.ok and report.compared == 0


def test_nan_in_the_input_is_an_error_of_the_input():
    report = check_layer(Hinge(), np.array([1.0, np.nan]), rules=False)
    assert not report.ok and report.error == np.inf


def test_a_sample_along_directions_sees_what_no_element_shows():
    x = np.ones(5000)
    report = check_layer(Spike(slice(None)), x, spread=0, rules=False, samples=1)
    assert 1e-8 < report.entries[1].error < 1e-4


# What is printed


def test_report_says_what_was_done_and_where():
    text = str(check_layer(Affine("wrong shift"), X, rules=False))
    assert text.startswith("Affine: WRONG (complex step, full Jacobian, bound 1e-12)")
    (line,) = [line for line in text.splitlines() if "! shift" in line]
    assert "of 1," in line and "worst at [" in line and "by output" in line and "backward 1.001, forward 1" in line
    report = check_layer(Affine(), X, full=False)
    assert str(report).startswith("Affine: ok (complex step, sampled, bound 1e-12)")
    report = check_layer(Affine("wrong shift"), X, full=False, samples=0, rules=False)
    assert "worst at a random direction:" in str(report) and "by output" not in str(report)
    report = check_layer(Affine("assigns"), X)
    assert str(report).splitlines()[-1].strip().startswith("breaks the rule adds_to_parameter_gradients")


def test_a_method_that_never_settles_ends():
    """A wrong gradient at a kink that cannot be left: a few looks, then the verdict."""

    class Steps(Layer):
        def forward(self, x):
            self.remember(x)
            return x + 1e-4 * np.floor(x.real * 1e5)

        def backward(self, dy):
            self.recall()
            return dy.copy()

    report = check_layer(Steps(), X, method="differences", rules=False)
    assert not report.ok and 2 <= report.moved <= 100
