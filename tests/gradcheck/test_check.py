import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import gpt.model
import nanograd.layers
from nanograd import Layer, Parameter
from nanograd.gradcheck import check
from nanograd.gradcheck.check import check_layer
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
