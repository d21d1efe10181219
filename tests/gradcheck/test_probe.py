import numpy as np
import pytest

from nanograd import Device, Layer
from nanograd.gradcheck.probe import ModelProbe, Probe
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding
from nanograd.layers.linear import Linear


@pytest.fixture
def linear(float64):
    return Linear(3, 2, device=float64)


X = np.arange(6.0).reshape(2, 3)


def test_values_are_inputs_and_parameters_as_float64_copies(linear):
    probe = Probe(linear, (X.astype(np.float32),))
    values = probe.values()
    assert list(values) == ["x", "weight", "bias"]
    assert all(value.dtype == np.float64 for value in values.values())
    values["weight"][...] = 0
    assert linear.weight.value.any()


def test_integer_inputs_are_not_differentiated():
    probe = Probe(CrossEntropy(), (X, np.array([0, 2])))
    assert list(probe.values()) == ["logits"]
    with probe.borrowed():
        assert list(probe.gradients(probe.values(), np.ones(1))) == ["logits"]


def test_output_and_gradients_anywhere(linear):
    probe = Probe(linear, (X,))
    with probe.borrowed():
        values = {"x": X + 1, "weight": np.ones((3, 2)), "bias": np.array([0.0, 1.0])}
        np.testing.assert_array_equal(probe.output(values), [6, 7, 15, 16])
        gradients = probe.gradients(values, np.array([1.0, 0.0, 0.0, 0.0]))
        np.testing.assert_array_equal(gradients["weight"], [[1, 0], [2, 0], [3, 0]])
        np.testing.assert_array_equal(gradients["x"], [[1, 1, 1], [0, 0, 0]])
        np.testing.assert_array_equal(gradients["bias"], [1, 0])
        complex_values = {name: value.astype(np.complex128) for name, value in values.items()}
        assert probe.output(complex_values).dtype == np.complex128


def test_the_layer_is_returned_as_it_was_even_after_an_error(linear):
    linear.weight.grad[...] = 4
    value, grad = linear.weight.value, linear.weight.grad
    before = value.copy()
    probe = Probe(linear, (X,))
    with pytest.raises(ZeroDivisionError), probe.borrowed():
        probe.gradients({name: array * 0 for name, array in probe.values().items()}, np.ones(4))
        raise ZeroDivisionError
    assert linear.weight.value is value and linear.weight.grad is grad
    np.testing.assert_array_equal(value, before)
    np.testing.assert_array_equal(grad, 4)
    with pytest.raises(RuntimeError):
        linear.backward(np.ones((2, 2)))


def test_noise_goes_back_to_its_step(float64):
    layer = Dropout(0.5, device=float64)
    layer.rng.begin_step(5)
    expected = layer(np.ones((2, 50))).copy()
    layer.rng.begin_step(5)
    probe = Probe(layer, (np.ones((2, 50)),))
    with probe.borrowed():
        one, two = (probe.output(probe.values()).copy() for _ in range(2))
        np.testing.assert_array_equal(one, two)
    assert layer.rng.step == 5
    np.testing.assert_array_equal(layer(np.ones((2, 50))), expected)


def test_a_name_that_is_taken_gets_a_word_beside_it():
    class Odd(Linear):
        def forward(self, weight):
            return super().forward(weight)

    assert list(Probe(Odd(3, 2, device=Device("numpy")), (X,)).values()) == ["weight (input)", "weight", "bias"]


def test_inputs_beyond_the_signature_are_numbered():
    class Many(Layer):
        def forward(self, *xs):
            return sum(xs)

    assert list(Probe(Many(), (X, X)).values()) == ["x0", "x1"]


def test_a_models_backward_has_no_upstream_gradient():
    class Model(Layer):
        def forward(self, idx, targets):
            return None, np.float64(1)

        def __call__(self, idx, targets):
            return self.forward(idx, targets)

    probe = ModelProbe(Model(), X, X)
    assert probe.forward() == 1
    with pytest.raises(ValueError, match="loss alone"):
        probe.backward(np.array([2.0]))


def test_all_sources_of_random_numbers_are_rewound_each_once():
    class Begins:
        calls = ()

        def begin_step(self, step):
            self.calls = (*self.calls, step)

    class Rolls(Layer):
        def __init__(self):
            self.shared = self.again = Begins()
            self.rng = np.random.default_rng(0)

        def forward(self, x):
            return x * self.rng.random()

        def backward(self, dy):
            return dy

    layer = Rolls()
    probe = Probe(layer, (X,))
    with probe.borrowed():
        np.testing.assert_array_equal(probe.output(probe.values()), probe.output(probe.values()))
    assert layer.shared.calls == (0, 0, 0), "before each forward, and at the end"


def test_too_many_or_too_few_gradients_are_refused():
    class Pair(Layer):
        def forward(self, a, b):
            return a + b

        def backward(self, dy):
            return (dy,)

    probe = Probe(Pair(), (X, X))
    with probe.borrowed(), pytest.raises(ValueError, match="returned 1 gradients for 2 inputs: a, b"):
        probe.gradients(probe.values(), np.ones(6))


def test_arrays_are_placed_where_the_parameters_are():
    from tests.support.gpu import array_stub

    layer = Embedding(3, 2, device=Device(array_stub, "float64"))
    probe = Probe(layer, (np.array([0, 2]),))
    assert not probe.on_host and isinstance(probe._place(np.ones(1)), array_stub.ndarray)


def test_a_number_gets_a_number_for_its_gradient():
    probe = Probe(CrossEntropy(), (X, np.array([0, 2])))
    dy = probe.shaped_like(np.array([0.5]), np.float32(1))
    assert isinstance(dy, float) and dy == 0.5
    assert probe.shaped_like(np.array([0.5]), np.ones((1, 1), np.float32)).shape == (1, 1)
