"""Where a check's limits lie: how large a Jacobian is complete, what counts as zero, how often a point is moved."""

import inspect

import numpy as np
import pytest

from nanograd import Layer, Parameter
from nanograd.gradcheck import check
from nanograd.gradcheck.check import Entry, Report, check_layer, check_model
from tests.gradcheck.test_check import Affine, Hinge, X
from tests.gradcheck.test_check_reports import errors

# Small print


def keywords(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_what_is_asked_for_by_name_and_what_it_is_otherwise():
    usual = {"method": None, "full": None, "samples": 8, "tolerance": None, "seed": 0, "before_forward": None}
    assert keywords(check_layer) == usual | {"spread": 0.5, "rules": True}
    assert keywords(check_model) == usual | {"spread": 0.3, "threads": 1}


def test_an_entry_starts_at_nothing_and_keeps_the_first_of_equal_errors():
    entry = Entry("x", (2,))
    entry.compare(np.zeros(0), np.zeros(0), None)
    assert (entry.compared, entry.difference, entry.largest, entry.error, entry.backward, entry.forward) == (0,) * 6
    entry.compare(np.array([1.0, 2.0]), np.array([1.5, 2.0]), lambda flat: ((flat,), None))
    entry.compare(np.array([3.0]), np.array([2.5]), lambda flat: ((7,), None))
    assert (entry.worst, entry.backward, entry.forward, entry.largest) == ((0,), 1.0, 1.5, 2.5)


def test_a_report_of_nothing_is_fine():
    report = Report("Nothing", "differences", True, 1e-9, [])
    assert report.ok and (report.error, report.compared, report.moved) == (0, 0, 0)
    assert str(report) == "Nothing: ok (differences, full Jacobian, bound 1e-09)"


def test_an_error_on_the_bound_is_fine():
    report = Report("X", "differences", True, 0.5, [Entry("x", (), error=0.5)])
    assert report.ok and "! x" not in str(report)


class Resized(Layer):
    """The elements of x over and over, `size` of them."""

    def __init__(self, size):
        self.size = size

    def forward(self, x):
        return np.resize(x, self.size)


@pytest.mark.parametrize(
    ("columns", "outputs", "full"),
    [(4000, 1, True), (4001, 1, False), (4000, 500, True), (3, 666_667, False), (4000, 501, False)],
)
def test_how_large_a_jacobian_is_complete(monkeypatch, columns, outputs, full):
    for name in ("_compare_jacobian", "_compare_sample"):
        monkeypatch.setattr(check, name, lambda *arguments: None)
    assert check_layer(Resized(outputs), np.ones(columns), rules=False).full is full


def test_how_much_is_compared():
    x = np.linspace(1, 2, 1000)
    for samples, count in ((0, 1), (1, 4 + 1), (2, 4 + 2), (3, 4 + 3), (8, 4 + 8)):
        assert check_layer(Hinge(), x, full=False, samples=samples, rules=False).compared == count
    assert check_layer(Hinge(), np.ones(1), full=False, samples=2, rules=False).compared == 4 + 1
    assert check_layer(Hinge(), np.ones(6), full=True, rules=False).compared == 6 * 6 + 1


@pytest.mark.parametrize("full", [True, False])
def test_an_input_without_elements_is_compared_with_nothing(full):
    class Shift(Layer):
        def __init__(self):
            self.shift = Parameter(np.ones(2))

        def forward(self, x):
            self.remember(x)
            return self.shift.value + x.sum()

        def backward(self, dy):
            self.shift.grad += dy
            return np.ones_like(self.recall()) * dy.sum()

    report = check_layer(Shift(), np.zeros((0, 3)), full=full)
    assert report.ok and report.entries[0].largest == 0 and report.entries[0].error == 0


class Slope(Layer):
    """y = slope * x, with `factor` times the right gradient."""

    def __init__(self, slope, factor):
        self.slope, self.factor = slope, factor

    def forward(self, x):
        return x * self.slope

    def backward(self, dy):
        return dy * self.slope * self.factor


def test_small_derivatives_are_compared_as_large_ones_are():
    assert errors(Slope(1e-6, 1.001))["x"] == pytest.approx(1e-3)


def test_derivatives_up_to_rounding_are_taken_for_0(monkeypatch):
    bound = 2.0**-43  # near 1e-13, and so that its derivative has no rounding
    monkeypatch.setattr(check, "ZERO", bound)
    assert errors(Slope(bound, 2), method="complex step")["x"] == bound
    assert errors(Slope(2 * bound, 2), method="complex step")["x"] == 1


def test_a_point_is_moved_so_often_and_no_further(monkeypatch):
    monkeypatch.setattr(check.Function, "at_kink", lambda *arguments: True)
    report = check_layer(Affine(), X, rules=False)
    assert report.ok and report.moved == 20


@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-7])
def test_a_point_is_moved_a_little(distance):
    seen = []

    class Watched(Hinge):
        def forward(self, x):
            seen.append(np.abs(x).max())
            return super().forward(x)

    report = check_layer(Watched(), np.array([distance]), method="differences", rules=False)
    assert report.ok and report.moved == 1 and max(seen) < 0.05


def test_directions_have_length_1():
    values = {"a": np.ones((2, 3)), "b": np.ones(()), "c": np.ones(0)}
    direction = check._unit_direction(values, np.random.default_rng(0))
    assert sum((v**2).sum() for v in direction.values()) == pytest.approx(1)
