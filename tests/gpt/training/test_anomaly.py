"""Where a number that is not finite came from: every layer, forward and backward, parameter and gradient."""

import math

import numpy as np
import pytest

from gpt.config.options import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.training.anomaly import NonFiniteCheck, NotFinite, likely_causes, origin, trouble_in_step, without_warnings
from gpt.training.step import Trainer
from nanograd.anomaly import Anomaly, describe, watched
from nanograd.device.device import Device
from nanograd.layers.activations import ReLU
from nanograd.layers.layer import Layer

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 8}
TOKENS = np.random.default_rng(0).integers(0, 11, 400).astype(np.uint16)


LATER = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "qk_norm": "rms_weight"}
KINDS = {"gpt2": {}, "later": LATER | {"n_layer": 1}}


def model_of(kind: str) -> GPT:
    model = GPT(GPTConfig(11, dropout=0.1, **(SHAPE | KINDS[kind])), Device("numpy", seed=1))
    model.rng.begin_step(0)
    return model


@pytest.fixture
def model():
    return model_of("gpt2")


def step(model, targets=None):
    ids = np.arange(16).reshape(2, 8) % 11
    with watched(model), without_warnings():
        model(ids, ids if targets is None else targets)
        model.backward()


EXAMPLES = {kind: model_of(kind) for kind in KINDS}
PARAMETERS = [(kind, name) for kind, example in EXAMPLES.items() for name, _ in example.named_parameters()]
LAYERS = [(kind, name) for kind, example in EXAMPLES.items() for name, _ in example.named_layers() if name]
LAYERS = [(kind, name) for kind, name in LAYERS if not name.endswith(".dropout")]  # their owner applies those masks


def spoil(layer, method, value):
    """From now on the layer's forward or backward puts `value` into what it returns."""
    real = getattr(layer, method)

    def spoilt(*inputs, **options):
        outputs = np.array(real(*inputs, **options), copy=True)
        outputs.reshape(-1)[0] = value
        return outputs

    setattr(layer, method, spoilt)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("example", "name"), LAYERS)
def test_the_layer_whose_forward_makes_it_is_named(example, name, value):
    model = model_of(example)
    layer = dict(model.named_layers())[name]
    spoil(layer, "forward", value)
    with pytest.raises(Anomaly) as caught:
        step(model)
    kind = type(layer).__name__
    count = "1 NaN" if math.isnan(value) else "1 infinity"
    assert (caught.value.layer, caught.value.direction) == (name, "forward") and not caught.value.from_parameter
    assert str(caught.value).startswith(f"{name}, forward: the {kind} makes {count} among ")


# The token embedding's backward returns nothing: there is nothing after it.
@pytest.mark.parametrize(("example", "name"), [(kind, name) for kind, name in LAYERS if name != "wte"])
def test_the_layer_whose_backward_makes_it_is_named(example, name):
    model = model_of(example)
    layer = dict(model.named_layers())[name]
    spoil(layer, "backward", math.nan)
    with pytest.raises(Anomaly) as caught:
        step(model)
    assert (caught.value.layer, caught.value.direction) == (name, "backward")
    assert f"the {type(layer).__name__} makes 1 NaN among " in str(caught.value)


@pytest.mark.parametrize(("example", "name"), PARAMETERS)
def test_a_parameter_that_is_not_finite_is_named_before_it_is_used(example, name):
    model = model_of(example)
    dict(model.named_parameters())[name].value.reshape(-1)[0] = math.nan
    with pytest.raises(Anomaly) as caught:
        step(model)
    layer, _, own = name.rpartition(".")
    expected = f"{layer}, forward: the parameter {own} holds 1 NaN among "
    assert str(caught.value).startswith(expected) and caught.value.from_parameter


@pytest.mark.parametrize(("example", "name"), PARAMETERS)
def test_a_gradient_that_is_not_finite_is_named(example, name):
    model = model_of(example)
    layer_name, _, own = name.rpartition(".")
    layer, real = dict(model.named_layers())[layer_name], None

    def spoilt(*upstream, **options):
        dx = real(*upstream, **options)
        getattr(layer, own).grad.reshape(-1)[0] = -math.inf
        return dx

    real = layer.backward
    layer.backward = spoilt
    with pytest.raises(Anomaly, match="1 infinity among ") as caught:
        step(model)
    assert str(caught.value).startswith(f"{layer_name}, backward: the gradient of {own} holds ")


class Overflow(Layer):
    """(x * scale) * scale between two activations: it has no layer for what it does itself."""

    def __init__(self):
        self.first, self.second = ReLU(), ReLU()

    def forward(self, x):
        return self.second(self.first(x) * x.dtype.type(1e30) * x.dtype.type(1e30))

    def backward(self, dy):
        return self.first.backward(self.second.backward(dy) * dy.dtype.type(1e30))


class Around(Layer):
    def __init__(self):
        self.inner = [Overflow()]

    def forward(self, x):
        return self.inner[0](x)

    def backward(self, dy):
        return self.inner[0].backward(dy)


def test_what_happens_between_layers_is_told_of_the_layer_around_them():
    with watched(around := Around()), without_warnings():
        with pytest.raises(Anomaly) as caught:
            around(np.float32([[1.0, 2.0]]))
        expected = "inner.0, forward: what the Overflow hands to second holds 2 infinities among 2 numbers"
        assert str(caught.value) == expected and caught.value.layer == "inner.0"
        around(np.float32([[1e-30, 1e-29]]))
        with pytest.raises(Anomaly) as caught:
            around.backward(np.float32([[1e20, 0.0]]))
        assert (
            str(caught.value) == "inner.0, backward: what the Overflow hands to first holds 1 infinity among 2 numbers"
        )


def test_a_healthy_step_passes_and_leaves_no_trace(model):
    ids = np.arange(16).reshape(2, 8) % 11
    step(model)
    watched_gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.zero_grad()
    model.rng.begin_step(0)
    model(ids, ids)
    model.backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.grad, watched_gradients[name])
    for _, layer in model.named_layers():
        assert "forward" not in vars(layer) and "backward" not in vars(layer)


def test_a_watch_ends_when_it_has_found_something(model):
    spoil(model.ln_f, "forward", math.nan)
    with pytest.raises(Anomaly):
        step(model)
    del model.ln_f.forward  # what was there before the watch, and is there after it
    assert all("forward" not in vars(layer) and "backward" not in vars(layer) for _, layer in model.named_layers())
    step(model)


def test_numbers_are_counted():
    nan, inf = math.nan, math.inf
    assert describe(np.array([1.0, 2.0]), None, 3, (np.array([4]),)) == ""
    assert describe(np.array([nan, nan, inf, -inf, 1.0])) == "2 NaN and 2 infinities among 5 numbers"
    assert describe((np.zeros(2), np.float32(inf))) == "1 infinity among 1 numbers"


# ---- in training ----


def trainer(threads=1, **flags):
    settings = {"batch_size": 4, "grad_accum": 2, "dropout": 0.2, "max_steps": 10} | SHAPE | flags
    config = TrainConfig(**settings)
    model = GPT(config.model_config(11), Device("numpy", seed=0))
    return Trainer(model, config, TOKENS[:300], TOKENS[300:], threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_that_fails_changes_nothing_and_is_traced_by_doing_it_again(threads):
    run = trainer(threads)
    for _ in range(3):
        run.train_step()
    before, moments = run.model.state_dict(), run.optimizer.state_dict()
    values = run.model.h[1].mlp.c_fc.weight.value
    values[...] = 3e38  # finite, and its products are not
    before["h.1.mlp.c_fc.weight"] = values.copy()
    with pytest.raises(NotFinite) as caught:
        run.train_step()
    assert caught.value.step == run.step == 3
    for now, then in ((run.model.state_dict(), before), (run.optimizer.state_dict(), moments)):
        assert all(np.array_equal(now[name], then[name]) for name in then)
    number, said = trouble_in_step(run, caught.value)
    assert number == 3
    assert "it comes from h.1.mlp.c_fc, forward: the Linear makes " in said and "likely causes: " in said


def test_trouble_that_one_worker_alone_has_is_found_in_it():
    run = trainer(2)
    assert len(run.parallel.replicas) == 2
    spoil(run.parallel.replicas[1].ln_f, "backward", math.inf)
    with pytest.raises(NotFinite) as caught:
        run.train_step()
    assert origin(run, caught.value.step).startswith("it comes from ln_f, backward: the LayerNorm makes 1 infinity")


def test_squares_that_overflow_are_told_from_numbers_that_do():
    run = trainer()
    real = run.gradients

    def huge(*args):
        loss = real(*args)
        run.model.ln_f.weight.grad[...] = 1e30  # finite in float32, and its square is not
        return loss

    run.gradients = huge
    with pytest.raises(NotFinite, match="the norm of the gradient is inf"):
        run.train_step()
    assert "squares of its gradients overflow; the largest is that of ln_f.weight" in origin(run, 0)


def test_detect_anomaly_finds_what_never_reaches_the_loss():
    run = trainer(detect_anomaly=True)
    run.train_step()
    run.model.wpe.weight.value[-1] = math.nan
    run.block_size = 7  # the last position is not used
    with pytest.raises(Anomaly, match=r"^wpe, forward: the parameter weight holds 8 NaN"):
        run.train_step()
    run = trainer()
    run.model.wpe.weight.value[-1] = math.nan
    run.block_size = 7
    run.train_step()


def test_likely_causes_are_those_that_the_flags_allow():
    careful = likely_causes(trainer(lr=0.5, dtype="float64", max_steps=100), 5)
    assert careful == "likely causes: a learning rate too high (it was 0.25: try --lr 0.002)"
    careless = likely_causes(trainer(lr=0.5, grad_clip=0, warmup_steps=0), 0)
    for words in ("--grad_clip 0", "--warmup_steps 0", "numbers too large for float32"):
        assert words in careless


# ---- the guard ----


class DeviceScalar:
    """A number on a GPU: arithmetic gives another one, and whoever looks at it waits."""

    waits = 0

    def __init__(self, value):
        self.value = value

    def __float__(self):
        DeviceScalar.waits += 1
        return float(self.value)

    def __add__(self, other):
        return DeviceScalar(self.value + getattr(other, "value", other))

    def __mul__(self, other):
        return DeviceScalar(self.value * other)

    __radd__ = __add__


@pytest.fixture
def on_device(monkeypatch):
    monkeypatch.setattr(
        "gpt.training.anomaly.clip_scale", lambda norm, most: DeviceScalar(min(1.0, most / (norm.value + 1e-6)))
    )
    DeviceScalar.waits = 0


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_on_a_gpu_the_update_and_all_after_it_are_skipped_without_waiting(on_device, bad, clip):
    guard = NonFiniteCheck()
    scales = [guard.scale(n, DeviceScalar(2.0), DeviceScalar(norm), clip) for n, norm in enumerate([2, 4, bad, 2, 2])]
    assert DeviceScalar.waits == 0
    assert [math.isnan(scale.value) for scale in scales] == [False, False, True, True, True]
    assert scales[1].value == pytest.approx(0.25 if clip else 1.0)
    with pytest.raises(NotFinite) as caught:
        guard.check()
    assert caught.value.step == 2


def test_on_a_gpu_a_loss_that_is_not_finite_counts_too(on_device):
    guard = NonFiniteCheck()
    assert math.isnan(guard.scale(4, DeviceScalar(math.inf), DeviceScalar(1.0), 1.0).value)
    with pytest.raises(NotFinite, match="the loss is inf"):
        guard.check()


def test_a_check_waits_once_and_forgets_the_steps_that_were_fine(on_device):
    guard = NonFiniteCheck()
    for number in range(5):
        guard.scale(number, DeviceScalar(1.0), DeviceScalar(1.0), 1.0)
    guard.check()
    assert DeviceScalar.waits == 1
    guard.check()
    assert DeviceScalar.waits == 1


def test_steps_do_not_pile_up_unchecked(on_device, monkeypatch):
    monkeypatch.setattr("gpt.training.anomaly.MOST_UNCHECKED", 3)
    guard = NonFiniteCheck()
    guard.scale(0, DeviceScalar(1.0), DeviceScalar(math.inf), 1.0)
    guard.scale(1, DeviceScalar(1.0), DeviceScalar(1.0), 1.0)
    guard.scale(2, DeviceScalar(1.0), DeviceScalar(1.0), 1.0)
    with pytest.raises(NotFinite):
        guard.scale(3, DeviceScalar(1.0), DeviceScalar(1.0), 1.0)


@pytest.mark.parametrize(
    ("loss", "norm", "message"),
    [
        (math.nan, 1.0, "the loss is nan"),
        (math.inf, 1.0, "the loss is inf"),
        (1.0, math.inf, "the norm of the gradient is inf"),
        (math.nan, math.nan, "the loss is nan"),
    ],
)
def test_on_the_cpu_it_stops_at_once(loss, norm, message):
    with pytest.raises(NotFinite, match=f"^{message}$"):
        NonFiniteCheck().scale(0, np.float32(loss), norm, 1.0)
