"""Each rule on a layer that breaks it, and on none that does not."""

import numpy as np
import pytest

from nanograd import Layer, Parameter
from nanograd.gradcheck.check import check_layer

X = np.random.default_rng(0).standard_normal((2, 3))


class Scale(Layer):
    """y = x * gain, kept by every rule; the classes below break one each."""

    def __init__(self):
        self.gain = Parameter(np.array([1.0, 2.0, 3.0]))

    def forward(self, x):
        self.remember(x)
        return x * self.gain.value

    def backward(self, dy):
        self.gain.grad += (dy * self.recall()).sum(0)
        return dy * self.gain.value


class WritesIntoX(Scale):
    def forward(self, x):
        y = super().forward(x.copy())
        x[...] = 0
        return y


class WritesIntoGain(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        self.gain.value[0] += 1
        return dx


class WritesIntoDy(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        dy[...] = 0
        return dx


class WritesAndRestores(Scale):
    def forward(self, x):
        x += 1
        y = super().forward(x - 1)
        x -= 1
        return y


class WantsRowsOfDy(Scale):
    def backward(self, dy):
        if not dy.flags.c_contiguous:
            raise ValueError("dy must be contiguous")
        return super().backward(dy)


class WantsRows(Scale):
    def forward(self, x):
        if not x.flags.c_contiguous:
            raise ValueError("x must be contiguous")
        return super().forward(x)


class ReadsMemory(Scale):
    def forward(self, x):
        rows = np.ascontiguousarray(x) if x.flags.c_contiguous else x.T.reshape(x.shape)
        return super().forward(rows)


class Assigns(Scale):
    def backward(self, dy):
        self.gain.grad[...] = (dy * self.recall()).sum(0)
        return dy * self.gain.value


class AddsToDx(Scale):
    def backward(self, dy):
        self.total = getattr(self, "total", 0) + super().backward(dy)
        return self.total


class KeepsX(Scale):
    def forward(self, x):
        self.x = x
        return x * self.gain.value

    def backward(self, dy):
        self.gain.grad += (dy * self.x).sum(0)
        return dy * self.gain.value


class UnclearError(Scale):
    def backward(self, dy):
        if getattr(self, "_saved", None) is None:
            raise KeyError("x")
        return super().backward(dy)


class MakesFloat64(Scale):
    def backward(self, dy):
        return super().backward(dy) * np.ones(3)


class Drifts(Scale):
    def forward(self, x):
        self.count = getattr(self, "count", 0) + 1
        return super().forward(x) * (1 + (self.count > 9) * 1e-15)


class HidesNan(Scale):
    def forward(self, x):
        return super().forward(np.where(np.isnan(x), 0, x))


class HidesNanInDy(Scale):
    def backward(self, dy):
        return super().backward(np.where(np.isnan(dy), 0, dy))


class CachesDx(Scale):
    def backward(self, dy):
        super().backward(dy)
        if not hasattr(self, "slope") or self.slope.dtype != dy.dtype:
            self.slope = self.gain.value * np.ones_like(dy)
        return self.slope


def broken(layer, x=X):
    return check_layer(layer, x, full=False, samples=2).broken


def test_a_good_layer_breaks_none():
    assert broken(Scale()) == []


@pytest.mark.parametrize(
    "layer, rule, message",
    [
        (WritesIntoX, "leaves_what_it_is_given", "forward writes into x"),
        (WritesIntoGain, "leaves_what_it_is_given", "backward writes into gain"),
        (WritesIntoDy, "leaves_what_it_is_given", "backward writes into dy"),
        (WritesAndRestores, "takes_arrays_of_any_layout", "read-only"),
        (WantsRowsOfDy, "takes_arrays_of_any_layout", "raises ValueError: dy must be contiguous"),
        (WantsRows, "takes_arrays_of_any_layout", "raises ValueError: x must be contiguous"),
        (ReadsMemory, "takes_arrays_of_any_layout", "Fortran-ordered arrays change the output"),
        (Assigns, "adds_to_parameter_gradients", "does not double the gradient of gain"),
        (AddsToDx, "adds_to_parameter_gradients", "another gradient of x"),
        (KeepsX, "wants_one_forward_for_each_backward", "raises nothing"),
        (UnclearError, "wants_one_forward_for_each_backward", "raises KeyError instead of RuntimeError"),
        (MakesFloat64, "keeps_float32", "x is float64"),
        (HidesNan, "passes_nan_on", "NaN in x does not reach the output"),
        (HidesNanInDy, "passes_nan_on", "NaN in dy does not reach any gradient"),
        (CachesDx, "hands_its_gradients_over", "changes after the caller added"),
    ],
)
def test_each_rule_is_noticed_by_name(layer, rule, message):
    if layer is AddsToDx:
        lines = broken_by_rule(layer(), rule)
    else:
        lines = broken(layer())
    assert any(line.startswith(f"breaks the rule {rule}") and message in line for line in lines), lines


def broken_by_rule(layer, rule):
    """What one rule finds, for a layer whose gradients no check would survive."""
    from nanograd.gradcheck import rules
    from nanograd.gradcheck.probe import Probe

    probe = Probe(layer, (X,))
    with probe.borrowed():
        trial = rules.Trial(probe, probe.values(), np.random.default_rng(0))
        try:
            getattr(rules, rule)(trial)
        except rules.Broken as problem:
            return [f"breaks the rule {rule}: {problem}"]
    return []


def test_bits_that_drift_are_noticed():
    from nanograd.gradcheck import rules
    from nanograd.gradcheck.probe import Probe

    class Drifting(Scale):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * (1 + self.calls * 1e-15)

    probe = Probe(Drifting(), (X,))
    with probe.borrowed():
        trial = rules.Trial(probe, probe.values(), np.random.default_rng(0))
        with pytest.raises(rules.Broken, match="the output differs when the same step is repeated"):
            rules.repeats_bit_for_bit(trial)


def test_a_gradient_that_is_the_parameters_own_is_noticed():
    class Shares(Scale):
        def __init__(self):
            self.gain = Parameter(np.ones((2, 3)))

        def backward(self, dy):
            self.gain.grad += dy * self.recall()
            return self.gain.grad

    lines = broken_by_rule(Shares(), "hands_its_gradients_over")
    assert lines and "the memory of the gradient of gain" in lines[0]


def test_ids_that_are_written_into_are_noticed():
    class Counts(Layer):
        def __init__(self):
            self.table = Parameter(np.eye(3))

        def forward(self, ids):
            self.remember(ids)
            return self.table.value[ids]

        def backward(self, dy):
            ids = self.recall()
            np.add.at(self.table.grad, ids, dy)

    class Spoils(Counts):
        def backward(self, dy):
            ids = self.recall()
            np.add.at(self.table.grad, ids, dy)
            ids[0] = (ids[0] + 1) % 3

    ids = np.array([0, 2, 2])
    assert check_layer(Counts(), ids).ok
    lines = check_layer(Spoils(), ids.copy(), full=False, samples=0).broken
    assert any("backward writes into ids" in line for line in lines), lines


def test_numbers_are_close_relative_to_the_largest_and_to_1():
    from nanograd.gradcheck.rules import _close

    for a, b, close in (
        ([1e6, 0.0], [1e6, 1e-7], True),
        ([1e6, 0.0], [1e6, 1e-5], False),
        ([1e-3], [1e-3 + 5e-13], True),
        ([1e-3], [1e-3 + 1.5e-12], False),
        ([1.0], [1.0, 1.0], False),
        ([1.0], [np.nan], False),
        ([], [], True),
    ):
        assert _close(np.array(a), np.array(b)) is close


def test_nan_in_a_table_is_looked_for_where_there_is_no_other_input():
    class Table(Layer):
        def __init__(self):
            self.rows = Parameter(np.eye(3))

        def forward(self, ids):
            self.remember(ids)
            return np.nan_to_num(self.rows.value[ids])

        def backward(self, dy):
            np.add.at(self.rows.grad, self.recall(), dy)

    lines = check_layer(Table(), np.array([0, 1]), full=False, method="differences").broken
    assert any("NaN in rows does not reach the output" in line for line in lines), lines


def test_one_element_is_enough_to_break_a_rule():
    layer = Assigns()
    layer.gain = Parameter(np.ones(1))
    assert any("does not double" in line for line in broken(layer, X[:, :1]))


def test_one_nan_among_many_numbers_must_be_passed_on():
    class HidesOneNan(Scale):
        def forward(self, x):
            one = np.isnan(x) & ~np.isnan(x).all()
            return super().forward(np.where(one, 0, x))

    assert any("NaN in x does not reach the output" in line for line in broken(HidesOneNan()))


def test_rows_and_parameters_that_nobody_looks_at_break_no_rule():
    class Row(Layer):
        def __init__(self):
            self.rows, self.unused = Parameter(np.eye(5)), Parameter(np.ones(2))

        def forward(self, ids):
            self.remember(ids)
            return self.rows.value[ids]

        def backward(self, dy):
            np.add.at(self.rows.grad, self.recall(), dy)

    assert check_layer(Row(), np.array([2]), full=False).ok
