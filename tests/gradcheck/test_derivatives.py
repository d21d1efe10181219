import numpy as np
import pytest

from nanograd.gradcheck.derivatives import COMPLEX_STEP, DIFFERENCES, Function, largest

METHODS = [(COMPLEX_STEP, 1e-15), (DIFFERENCES, 1e-10)]


def function(evaluate, **values):
    return Function(lambda v: np.atleast_1d(evaluate(**v)), {name: np.array(value) for name, value in values.items()})


@pytest.mark.parametrize("method, bound", METHODS)
@pytest.mark.parametrize(
    "evaluate, derivative",
    [
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
        (lambda x: x**5, lambda x: 5 * x**4),
    ],
)
def test_derivatives_of_known_functions(evaluate, derivative, method, bound):
    x = np.array([-1.3, -0.2, 0.4, 1.7])
    f = function(lambda x: evaluate(x), x=x)
    for i in range(4):
        unit = np.eye(4)[i]
        expected = unit * derivative(x)
        assert np.abs(f.along({"x": unit}, method) - expected).max() <= bound * np.abs(expected).max()


@pytest.mark.parametrize("method, bound", METHODS)
def test_a_direction_may_move_several_arrays(method, bound):
    f = function(lambda a, b: a * b, a=[2.0], b=[5.0])
    assert f.along({"a": np.array([1.0]), "b": np.array([3.0])}, method) == pytest.approx(5 + 6, rel=bound)
    assert f.along({"b": np.array([-1.0])}, method) == pytest.approx(-2, rel=bound)


def test_differences_are_exact_for_quartics():
    """The error of the formula is in the fifth derivative."""
    f = function(lambda x: x**4 - 3 * x**3, x=[0.7])
    assert f.by_differences({"x": np.ones(1)})[0] == pytest.approx(4 * 0.7**3 - 9 * 0.7**2, rel=1e-12)
    assert not f.unsure


def test_a_steep_function_gets_a_smaller_step():
    f = function(lambda x: np.tanh(1000 * x), x=[1e-4])
    expected = 1000 / np.cosh(0.1) ** 2
    assert f.by_differences({"x": np.ones(1)})[0] == pytest.approx(expected, rel=1e-9)


def test_a_derivative_of_any_size_is_as_exact():
    for size in (1e-9, 1.0, 1e9):
        f = function(lambda x, size=size: size * np.tanh(1000 * x), x=[1e-4])
        assert f.by_differences({"x": np.ones(1)})[0] == pytest.approx(size * 1000 / np.cosh(0.1) ** 2, rel=1e-9)


def test_where_no_two_steps_agree_it_is_unsure():
    rng = np.random.default_rng(0)
    f = function(lambda x: x + 1e-3 * rng.random(), x=[1.0])
    f.by_differences({"x": np.ones(1)})
    assert f.unsure


@pytest.mark.parametrize(
    "evaluate",
    [
        np.abs,
        lambda x: x.real,
        lambda x: x * x.conj(),
        lambda x: x.real + 100,  # however large the numbers are beside the derivative,
        lambda x: 1e-4 * x.real,  # and however small it is
        lambda x: 1e-10 * x.real,
    ],
)
def test_what_is_not_analytic_is_seen(evaluate):
    assert not function(lambda x: evaluate(x), x=[0.5, -0.7]).is_analytic({"x": np.array([1.0, 0.3])})


def test_what_cannot_take_complex_numbers_is_seen():
    assert not function(lambda x: np.arctan2(x, 1.0), x=[0.5]).is_analytic({"x": np.ones(1)})
    assert not function(lambda x: np.array([float(x[0])]), x=[0.5]).is_analytic({"x": np.ones(1)})


def test_what_gives_nan_for_complex_numbers_is_seen():
    f = function(lambda x: x * (np.nan if np.iscomplexobj(x) else 2.0), x=[0.5])
    assert not f.is_analytic({"x": np.ones(1)})


@pytest.mark.parametrize("evaluate", [np.sin, lambda x: x * 0, lambda x: np.maximum(x, 0), lambda x: 1e-6 * x])
def test_what_is_analytic_is_seen(evaluate):
    assert function(lambda x: evaluate(x), x=[0.5, -0.7]).is_analytic({"x": np.array([1.0, 0.3])})


@pytest.mark.parametrize("method", [COMPLEX_STEP, DIFFERENCES])
def test_kinks_are_seen_at_the_point_only(method):
    for x, kink in (([0.0, 1.0], True), ([1e-3, 1.0], False), ([-2.0, 1.0], False)):
        f = function(lambda x: np.maximum(x, 0), x=x)
        assert f.at_kink({"x": np.array([0.7, -0.2])}, method) is kink
    for smooth in (np.sin, np.square, np.exp):
        f = function(lambda x, smooth=smooth: smooth(x), x=[0.0, 1.0])
        assert not f.at_kink({"x": np.array([0.7, -0.2])}, method)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_kinks_of_any_size_are_seen_by_differences(size):
    for x, kink in (([0.0], True), ([0.5], False)):
        f = function(lambda x: size * np.maximum(x, 0), x=x)
        assert f.at_kink({"x": np.ones(1)}, DIFFERENCES) is kink


def test_the_top_of_a_hill_is_no_kink():
    """Its slope is 0, so that the activate is all there is to see."""
    for evaluate in (np.cos, np.square, lambda x: 1e6 * np.cos(x), lambda x: 1e-6 * np.cos(x)):
        f = function(lambda x, evaluate=evaluate: evaluate(x), x=[0.0])
        assert not f.at_kink({"x": np.ones(1)}, DIFFERENCES)


def test_a_constant_has_no_kink_and_is_analytic():
    f, direction = function(lambda x: x * 0 + 1, x=[0.5, -0.7]), {"x": np.array([1.0, 0.3])}
    assert f.is_analytic(direction) and not f.unsure and f.scale == 0
    assert not f.at_kink(direction, COMPLEX_STEP) and not f.at_kink(direction, DIFFERENCES)


def test_small_numbers_are_not_believed_to_be_analytic():
    assert not function(lambda x: 0.1 * np.abs(x), x=[3.0]).is_analytic({"x": np.ones(1)})


@pytest.mark.parametrize(("method", "dtype"), [(COMPLEX_STEP, np.complex128), (DIFFERENCES, np.float64)])
def test_each_method_looks_for_kinks_in_its_own_numbers(method, dtype):
    def evaluate(x):
        assert x.dtype == dtype
        return np.maximum(x, 0)

    assert function(evaluate, x=[0.0]).at_kink({"x": np.ones(1)}, method)


def test_a_kink_beside_a_strong_curve_is_seen():
    assert function(lambda x: np.abs(x) + 100 * x**2, x=[0.0]).at_kink({"x": np.ones(1)}, DIFFERENCES)


def test_differences_stay_near_the_point():
    f = function(lambda x: np.log(x), x=[0.005])
    assert f.by_differences({"x": np.ones(1)}) == pytest.approx(200)


def test_the_largest_of_nothing_is_0():
    assert (largest(np.zeros(0)), largest(np.array([-2.0, 1.0])), largest(np.array([0.5]))) == (0, 2, 0.5)
