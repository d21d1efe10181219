import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import gpt.model
import nanograd.layers
from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd import Layer, Parameter
from nanograd.gradcheck import check
from nanograd.gradcheck.check import Entry, Report, check_layer, check_model
from nanograd.layers.linear import Linear
from tests.support import ROOT
from tests.support.battery import BATTERY

# The battery knows every layer


def layers_of_the_house():
    names = [module.name for module in pkgutil.iter_modules(nanograd.layers.__path__)]
    modules = [importlib.import_module(f"nanograd.layers.{name}") for name in names]
    for module in [*modules, gpt.model]:
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and issubclass(thing, Layer) and thing.__module__ == module.__name__:
                yield name


def test_every_layer_is_in_the_battery():
    # GPT is no layer with one input and one output: check_model and test_model.py are for it.
    assert set(layers_of_the_house()) - {"Layer", "GPT"} == set(BATTERY)


@pytest.mark.parametrize("name", BATTERY)
def test_every_layer_of_the_battery_is_tested(name):
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    for kind in ("battery_test", "jacobian_test"):
        assert any(f'= {kind}("{name}")' in text for text in files), f"no test file has {kind}({name!r})"


# A layer that a user writes


class Affine(Layer):
    """y = x * scale + shift; what goes wrong is said by `mistake`."""

    def __init__(self, mistake=""):
        self.scale = Parameter(np.array([1.0, 2.0, 3.0], dtype=np.float32))
        self.shift = Parameter(np.zeros(3, dtype=np.float32))
        self.mistake = mistake

    def forward(self, x):
        self.remember(x)
        if self.mistake == "writes into x":
            x += 1
        y = x * self.scale.value + self.shift.value
        return y.astype(np.float64) if self.mistake == "float64" and y.dtype == np.float32 else y

    def backward(self, dy):
        x = self.recall()
        if self.mistake == "writes into dy":
            dy *= 2
            dy /= 2
            dy += 1
            return (dy - 1) * self.scale.value
        rows = dy.reshape(-1, 3)
        dscale = (rows * x.reshape(-1, 3)).sum(0)
        if self.mistake == "assigns":
            self.scale.grad[...] = dscale
        else:
            self.scale.grad += dscale
        self.shift.grad += rows.sum(0) * (1.001 if self.mistake == "wrong shift" else 1)
        if self.mistake == "mean":
            return dy * self.scale.value / len(rows)
        if self.mistake == "remembers":
            self.remember(x)
        if self.mistake == "shape":
            return (dy * self.scale.value).reshape(-1)
        if self.mistake == "nothing":
            return None
        return dy * self.scale.value


X = np.random.default_rng(0).standard_normal((2, 3))


def test_docstring_example():
    results = doctest.testmod(check)
    assert results.attempted >= 5 and results.failed == 0


def test_right_layer_passes_and_is_left_as_it_was():
    layer = Affine()
    layer.scale.grad[...] = 7
    before = layer.state_dict()
    report = check_layer(layer, X)
    assert report.ok and report.full and report.method == "complex step", report
    assert [entry.name for entry in report.entries] == ["x", "scale", "shift"]
    assert report.error < 1e-15
    assert report.compared >= 6 * (6 + 3 + 3)
    for name, value in layer.state_dict().items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(layer.scale.grad, 7)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("method", ["complex step", "differences"])
def test_wrong_parameter_gradient_is_named(method, full):
    report = check_layer(Affine("wrong shift"), X, method=method, full=full, rules=False)
    assert not report.ok
    assert [entry.name for entry in report.entries if entry.error > report.tolerance] == ["shift"]
    assert report.error == pytest.approx(1e-3, rel=0.5)
    assert "! shift" in str(report) and "WRONG" in str(report)


def test_wrong_scale_of_dx_is_found():
    report = check_layer(Affine("mean"), X, rules=False)
    assert [entry.name for entry in report.entries if entry.error > 0.1] == ["x"]
    (entry,) = [entry for entry in report.entries if entry.name == "x"]
    assert entry.worst[1] == 2 or entry.worst == (0, 2)  # the column of the largest scale
    assert entry.backward == pytest.approx(entry.forward / 2)


@pytest.mark.parametrize(
    "mistake, rule",
    [
        ("writes into x", "forward writes into x"),
        ("writes into dy", "backward writes into dy"),
        ("float64", "the output is float64"),
        ("assigns", "does not double the gradient of scale"),
        ("remembers", "raises nothing"),
    ],
)
def test_broken_rules_are_named(mistake, rule):
    report = check_layer(Affine(mistake), X)
    assert not report.ok
    assert any(rule in line for line in report.broken), report


@pytest.mark.parametrize("mistake, message", [("shape", "a gradient of shape"), ("nothing", "nothing")])
def test_gradient_that_does_not_fit_is_refused(mistake, message):
    with pytest.raises(ValueError, match=message):
        check_layer(Affine(mistake), X)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="Layer"):
        check_layer(lambda x: x, X)
    with pytest.raises(ValueError, match="method"):
        check_layer(Affine(), X, method="symbolic")


class Absolute(Layer):
    """|x|: not analytic, with a kink at 0."""

    def forward(self, x):
        self.remember(x)
        return np.abs(x)

    def backward(self, dy):
        return dy * np.sign(self.recall())


def test_forward_that_is_not_analytic_is_checked_by_differences():
    report = check_layer(Absolute(), X)
    assert report.method == "differences" and report.ok, report


class Real(Absolute):
    """Drops imaginary parts on the way, as a cast to a real type does."""

    def forward(self, x):
        self.remember(x)
        return x.real * 2.0

    def backward(self, dy):
        self.recall()
        return 2.0 * dy


def test_forward_that_drops_the_imaginary_part_is_checked_by_differences():
    report = check_layer(Real(), X)
    assert report.method == "differences" and report.ok, report


class Hinge(Layer):
    """max(x, 0) with the slope at 0 taken as 0; `wrong` takes it as 1 everywhere."""

    def __init__(self, wrong=False):
        self.wrong = wrong

    def forward(self, x):
        self.remember(x)
        return np.maximum(x, 0)

    def backward(self, dy):
        x = self.recall()
        return dy * 1.0 if self.wrong else np.where(x > 0, dy, 0 * x)


@pytest.mark.parametrize("method", ["complex step", "differences"])
def test_point_on_a_kink_is_moved(method):
    x = X.copy()
    x[0] = 0
    report = check_layer(Hinge(), x, method=method)
    assert report.ok and report.moved == 1, report
    assert not check_layer(Hinge(wrong=True), x, method=method, rules=False).ok


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
def test_kink_nearby_is_stepped_around(distance):
    x = np.array([distance, -distance, 1.0])
    report = check_layer(Hinge(), x, method="differences")
    assert report.ok and (report.moved == 0 or distance < 1e-5), report


class Noisy(Layer):
    """A user's own dropout, with a NumPy generator."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        mask = self.rng.random(x.shape) < 0.5
        self.remember(mask)
        return x * mask

    def backward(self, dy):
        return dy * self.recall()


def test_generator_of_a_layer_is_held_fixed_and_restored():
    layer = Noisy()
    state = layer.rng.bit_generator.state
    assert check_layer(layer, X).ok
    assert layer.rng.bit_generator.state == state


class Hidden(Noisy):
    """Random numbers that the check cannot see."""

    def __init__(self):
        self.draw = iter(np.random.default_rng(0).random, None)

    def forward(self, x):
        mask = next(self.draw) < 0.5
        self.remember(mask)
        return x * (1 + mask) * next(self.draw)


def test_forward_that_differs_each_time_is_refused():
    with pytest.raises(ValueError, match="before_forward"):
        check_layer(Hidden(), X)


def test_before_forward_can_rewind():
    class Counter(Layer):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.remember(self.calls)
            return x * self.calls

        def backward(self, dy):
            return dy * self.recall()

    layer = Counter()
    assert check_layer(layer, X, before_forward=lambda: setattr(layer, "calls", 1)).ok


class Product(Layer):
    """Two inputs, a tuple of gradients."""

    def forward(self, a, b):
        self.remember(a, b)
        return a * b

    def backward(self, dy):
        a, b = self.recall()
        return dy * b, dy * a


def test_several_inputs_are_named_as_in_forward():
    report = check_layer(Product(), X, X + 1)
    assert report.ok, report
    assert [entry.name for entry in report.entries] == ["a", "b"]


def test_nan_gradient_is_an_error():
    class Broken(Hinge):
        def backward(self, dy):
            return super().backward(dy) * np.nan

    report = check_layer(Broken(), X, rules=False)
    assert report.error == np.inf and not report.ok


def test_large_layer_is_sampled(float64):
    report = check_layer(Linear(80, 70, device=float64), np.random.default_rng(0).standard_normal((3, 80)))
    assert not report.full and report.ok, report


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


# Whole models


def small_gpt(device, **settings):
    config = GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=2, n_embd=4, **settings)
    rng = np.random.default_rng(1)
    return GPT(config, device), rng.integers(0, 7, (2, 4)), rng.integers(0, 7, (2, 4))


@pytest.mark.parametrize("full", [True, False])
def test_model_passes_and_is_left_as_it_was(float64, full):
    model, idx, targets = small_gpt(float64, dropout=0.2)
    before = model.state_dict()
    model(idx, targets)
    model.backward()
    gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
    report = check_model(model, idx, targets, full=full)
    assert report.ok, report
    assert [entry.name for entry in report.entries] == list(before)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.value, before[name])
        np.testing.assert_array_equal(p.grad, gradients[name])


def test_model_in_float32_is_checked_in_float64():
    model, idx, targets = small_gpt(nanograd.Device("numpy", dtype="float32", seed=0))
    report = check_model(model, idx, targets, spread=0)
    assert report.ok and report.error < 1e-13, report
    assert all(p.value.dtype == np.float32 for p in model.parameters())


def test_a_model_with_many_relus_is_seen_to_be_analytic():
    """A step along all of its parameters at once crosses kinks, unless it is short."""
    config = GPTConfig(vocab_size=200, block_size=32, n_layer=2, n_head=2, n_embd=64)
    model = GPT(config, nanograd.Device("numpy", dtype="float64", seed=0))
    idx = np.random.default_rng(0).integers(0, 200, (2, 32))
    report = check_model(model, idx, idx, spread=0, samples=1)
    assert (report.method, report.full, report.moved) == ("complex step", False, 0)
    assert report.ok, report


@pytest.mark.parametrize("full", [True, False])
def test_wrong_model_is_found_by_name(float64, full, monkeypatch):
    model, idx, targets = small_gpt(float64)
    right = model.h[0].ln_1.backward

    def scaled(*upstream):
        dx = right(*upstream)
        model.h[0].ln_1.bias.grad *= 1.0001
        return dx

    monkeypatch.setattr(model.h[0].ln_1, "backward", scaled)
    report = check_model(model, idx, targets, full=full)
    assert [entry.name for entry in report.entries if entry.error > report.tolerance] == ["h.0.ln_1.bias"]


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_gradients_of_the_whole_batch(float64, threads):
    model, idx, targets = small_gpt(float64, dropout=0.3)
    before = model.state_dict()
    report = check_model(model, idx, targets, threads=threads)
    assert report.ok, report
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_threads_need_float64():
    model, idx, targets = small_gpt(nanograd.Device("numpy", dtype="float32", seed=0))
    with pytest.raises(ValueError, match="float64"):
        check_model(model, idx, targets, threads=2)


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
