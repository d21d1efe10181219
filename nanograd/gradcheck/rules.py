"""What every layer promises besides right gradients (layer.py has the reasons), tried on a layer one by one.

Each rule is a function that gets a `Trial` and raises `Broken` with a sentence. `broken_rules` tries them all.
"""

from collections.abc import Iterator

import numpy as np

from nanograd.device.device import xp_of
from nanograd.gradcheck.derivatives import largest
from nanograd.gradcheck.probe import Probe, flat_copy
from nanograd.layers.layer import to_host

CLOSE = 1e-12  # for the same sums in another order, relative to the largest number


class Broken(Exception):
    """The rule is broken, and how."""


class Trial:
    """A layer at a point: forward and backward with arrays of one's own making."""

    def __init__(self, probe: Probe, values: dict[str, np.ndarray], rng: np.random.Generator):
        self.probe, self.rng = probe, rng
        self.values = values
        self.ids = {n: to_host(array) for n, array in probe.given.items() if array.dtype.kind not in "fc"}
        self.dy = rng.standard_normal(probe.output(values).size)

    def start(self, dtype=np.float64) -> None:
        """Everything in its place, in contiguous arrays of `dtype`, the gradients blank."""
        self.probe.move_to({name: value.astype(dtype) for name, value in self.values.items()})

    def step(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Forward and backward: copies of the output and of the gradients of the inputs."""
        y = self.probe.forward()
        kept = flat_copy(y)
        dx = self.probe.backward(self.probe.shaped_like(self.dy.astype(kept.dtype), y))
        return kept, {name: to_host(gradient) for name, gradient in dx.items()}

    def parameter_gradients(self) -> dict[str, np.ndarray]:
        return {name: to_host(parameter.grad) for name, parameter in self.probe.parameters.items()}

    def results(self) -> dict[str, np.ndarray]:
        """Output and all gradients of a fresh start."""
        self.start()
        y, dx = self.step()
        return {"the output": y} | dx | self.parameter_gradients()


def leaves_what_it_is_given(trial: Trial) -> None:
    """Forward and backward write neither into their inputs nor into the parameters."""
    trial.start()
    y = trial.probe.forward()
    _expect_untouched(trial, "forward")
    dy = trial.probe.shaped_like(trial.dy, y)
    before = np.array(to_host(dy))
    trial.probe.backward(dy)
    _expect_untouched(trial, "backward")
    if not np.array_equal(to_host(dy), before):
        raise Broken("backward writes into dy")


def _expect_untouched(trial, phase):
    for name, value in (trial.values | trial.ids).items():
        held = trial.probe.inputs.get(name)
        held = trial.probe.parameters[name].value if held is None else held
        if not np.array_equal(to_host(held), value):
            raise Broken(f"{phase} writes into {name}")


def takes_arrays_of_any_layout(trial: Trial) -> None:
    """Fortran-ordered, strided and read-only inputs and dy give the same as contiguous ones."""
    expected = trial.results()
    layouts = {"Fortran-ordered": _fortran_ordered, "strided": _strided}
    if trial.probe.on_host:
        layouts["read-only"] = _read_only
    for layout, change in layouts.items():
        trial.start()
        inputs = trial.probe.inputs
        for name, array in inputs.items():
            inputs[name] = change(array) if array.ndim else array
        y = trial.probe.forward()
        dy = trial.probe.shaped_like(trial.dy, y)
        dx = trial.probe.backward(change(dy) if dy.shape else dy)
        found = {"the output": flat_copy(y)} | dx | trial.parameter_gradients()
        for name, value in expected.items():
            if not _close(found[name], value):
                raise Broken(f"{layout} arrays change {name}")
        trial.probe.inputs.update({name: trial.probe.given[name] for name in trial.ids})


def _fortran_ordered(array):
    return xp_of(array).asfortranarray(array)


def _strided(array):
    wide = xp_of(array).zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def adds_to_parameter_gradients(trial: Trial) -> None:
    """A second forward and backward doubles the parameters' gradients and gives the inputs' gradients again."""
    trial.start()
    _, first_dx = trial.step()
    first = trial.parameter_gradients()
    _, second_dx = trial.step()
    for name, gradient in trial.parameter_gradients().items():
        if not _close(gradient, 2 * first[name]):
            raise Broken(f"a second backward does not double the gradient of {name}: it must be added, +=")
    for name, gradient in second_dx.items():
        if not _close(gradient, first_dx[name]):
            raise Broken(f"a second backward gives another gradient of {name}: it must be assigned, =")


def wants_one_forward_for_each_backward(trial: Trial) -> None:
    """A backward without its forward, or a second one, raises RuntimeError with a message."""
    trial.start()
    dy = trial.probe.shaped_like(trial.dy, trial.probe.forward())
    trial.probe.layer.drop_buffers()
    _expect_refusal(trial, dy, "a backward without a forward")
    trial.step()
    _expect_refusal(trial, dy, "a second backward after one forward")


def _expect_refusal(trial, dy, what):
    try:
        trial.probe.backward(dy)
    except RuntimeError as error:
        if "forward" in str(error):
            return
        raise Broken(f"{what} raises an error that does not say what is missing: {error}") from error
    except Exception as error:  # what it is instead of the promised one is part of the message
        raise Broken(f"{what} raises {type(error).__name__} instead of RuntimeError: {error}") from error
    raise Broken(f"{what} raises nothing; take what forward kept with self.recall()")


def keeps_float32(trial: Trial) -> None:
    """From float32 inputs and parameters come float32 outputs and gradients."""
    trial.start(np.float32)
    y = trial.probe.forward()
    found = {"the output": y}
    found |= trial.probe.backward(trial.probe.shaped_like(trial.dy.astype(np.float32), y))
    found |= {f"the gradient of {name}": p.grad for name, p in trial.probe.parameters.items()}
    for name, array in found.items():
        if array.dtype != np.float32:
            raise Broken(f"{name} is {array.dtype} where everything given is float32")


def repeats_bit_for_bit(trial: Trial) -> None:
    """The same forward and backward again give the same bits."""
    first, second = trial.results(), trial.results()
    for name, value in first.items():
        if value.tobytes() != second[name].tobytes():
            raise Broken(f"{name} differs when the same step is repeated")


def passes_nan_on(trial: Trial) -> None:
    """One NaN in an input, or NaN for dy, is seen in what comes out: no crash, no number made of it."""
    for name in trial.probe.float_inputs or list(trial.probe.parameters)[:1]:
        trial.start()
        tainted = trial.values[name].copy()
        tainted.flat[trial.rng.integers(tainted.size) if trial.probe.float_inputs else slice(None)] = np.nan
        trial.probe.move_to({name: tainted})
        y = flat_copy(trial.probe.forward())
        if not np.isnan(y).any():
            raise Broken(f"NaN in {name} does not reach the output")
    trial.start()
    y = trial.probe.forward()
    dx = trial.probe.backward(trial.probe.shaped_like(np.full_like(trial.dy, np.nan), y))
    gradients = [to_host(g) for g in dx.values()] + list(trial.parameter_gradients().values())
    if gradients and not any(np.isnan(gradient).any() for gradient in gradients):
        raise Broken("NaN in dy does not reach any gradient")


def hands_its_gradients_over(trial: Trial) -> None:
    """Who called backward may add into what it returned: the layer's next step is the same as ever."""
    expected = trial.results()
    trial.start()
    y = trial.probe.forward()
    dx = trial.probe.backward(trial.probe.shaped_like(trial.dy, y))
    before = trial.parameter_gradients()
    for gradient in dx.values():
        gradient += 1
    for name, gradient in trial.parameter_gradients().items():
        if not np.array_equal(gradient, before[name]):
            raise Broken(f"the gradient returned by backward is the memory of the gradient of {name}")
    for parameter in trial.probe.parameters.values():
        parameter.zero_grad()
    y, dx = trial.step()
    for name, value in ({"the output": y} | dx | trial.parameter_gradients()).items():
        if value.tobytes() != expected[name].tobytes():
            raise Broken(f"{name} changes after the caller added into a gradient that backward had returned")


RULES = (
    leaves_what_it_is_given,
    takes_arrays_of_any_layout,
    adds_to_parameter_gradients,
    wants_one_forward_for_each_backward,
    keeps_float32,
    repeats_bit_for_bit,
    passes_nan_on,
    hands_its_gradients_over,
)


def broken_rules(probe: Probe, values: dict[str, np.ndarray], rng: np.random.Generator) -> list[str]:
    """A line for every rule that the layer breaks at `values`, with what was found."""
    return list(_broken(probe, values, rng))


def _broken(probe, values, rng) -> Iterator[str]:
    if any(value.size == 0 for value in values.values()):
        return  # nothing to taint or to lay out otherwise
    trial = Trial(probe, values, rng)
    for rule in RULES:
        try:
            rule(trial)
        except Broken as problem:
            yield f"breaks the rule {rule.__name__}: {problem}"
        except Exception as error:  # a user's layer may fail in any way, and is to be told under which rule
            yield f"breaks the rule {rule.__name__}: it raises {type(error).__name__}: {error}"


def _close(a, b) -> bool:
    a, b = to_host(a), to_host(b)
    return a.shape == b.shape and bool(largest(a - b) <= CLOSE * max(1, largest(b)))
