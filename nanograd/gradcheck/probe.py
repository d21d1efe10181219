"""A layer seen from outside: a function of named arrays that can be evaluated anywhere, in any precision.

What a gradient is checked against is the layer's own forward pass, moved a little: so a check needs to set
every input and parameter at will, in float64 or complex128, hold all randomness fixed between two runs, and
leave the layer afterwards as it was.
"""

import contextlib
import functools
import inspect

import numpy as np

from nanograd.device.device import xp_of
from nanograd.layers.layer import Layer, to_host


class Probe:
    """`layer.forward(*inputs)` and its backward, as functions of the float inputs and the parameters by name.

    An input is called as in the signature of `forward`. Integer inputs (token ids) stay as they are. Before
    each forward pass every source of random numbers below the layer is rewound, so that a dropout mask is the
    same each time: NumPy generators, and objects with a `begin_step(step)`; `before_forward()` is called for others.
    """

    def __init__(self, layer: Layer, inputs: tuple, before_forward=None):
        if not isinstance(layer, Layer):
            raise TypeError(f"the check needs a nanograd Layer, not {type(layer).__name__}")
        self.layer = layer
        self.before_forward = before_forward
        self.parameters = dict(layer.named_parameters())
        self.inputs = {
            (f"{name} (input)" if name in self.parameters else name): array
            for name, array in zip(_input_names(layer, len(inputs)), inputs, strict=True)
        }
        self.given = dict(self.inputs)
        self.float_inputs = [name for name, array in self.inputs.items() if array.dtype.kind in "fc"]
        arrays = [*(parameter.value for parameter in self.parameters.values()), *self.inputs.values()]
        self._place = xp_of(arrays[0]).asarray if arrays else np.asarray
        self.on_host = all(isinstance(array, np.ndarray) for array in arrays)
        self._random = list(_random_sources(layer))

    def values(self) -> dict[str, np.ndarray]:
        """Where the layer is now: every float input and parameter, as float64 copies on the host."""
        arrays = {name: self.inputs[name] for name in self.float_inputs}
        arrays |= {name: parameter.value for name, parameter in self.parameters.items()}
        return {name: to_host(array).astype(np.float64) for name, array in arrays.items()}

    @contextlib.contextmanager
    def borrowed(self):
        """Within it the layer may be moved about; after it, it is as it was, gradients and randomness included."""
        self._home = self._state()
        for parameter in self.parameters.values():
            parameter.move(parameter.value, None)
            parameter.grad_is_zero = True
        try:
            yield self
        finally:
            self._return_to(self._home)
            self.inputs = dict(self.given)
            for rewind in self._random:
                rewind()
            self.layer.drop_buffers()

    @contextlib.contextmanager
    def at_home(self, values: dict[str, np.ndarray]):
        """Within it `values` stand in the parameters' own arrays, for what works on those: threads, the arenas."""
        away = self._state()
        self._return_to(self._home)
        kept = {name: (to_host(p.value), to_host(p.grad)) for name, p in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                if parameter.value.dtype != np.float64:
                    raise ValueError(f"checking with threads needs a model in float64, not {parameter.value.dtype}")
                parameter.value[...] = self._place(values[name])
            yield
        finally:
            for name, (value, grad) in kept.items():
                parameter = self.parameters[name]
                parameter.value[...], parameter.grad[...] = self._place(value), self._place(grad)
            self._home = self._state()
            self._return_to(away)

    def _state(self):
        for parameter in self.parameters.values():
            parameter.add_waiting()
        return {name: ((p.value, p._grad, p.parts), p.grad_is_zero) for name, p in self.parameters.items()}

    def _return_to(self, state) -> None:
        for name, (memory, blank) in state.items():
            parameter = self.parameters[name]
            parameter.move(*memory)
            parameter.grad_is_zero = blank

    def move_to(self, values: dict[str, np.ndarray]) -> None:
        """Put the arrays of `values` in place, with their dtypes; parameter gradients become blank."""
        for name, array in values.items():
            if name in self.parameters:
                parameter = self.parameters[name]
                if parameter._grad is not None and parameter._grad.dtype != array.dtype:
                    parameter._grad = None
                parameter.move(self._place(array.copy()), parameter._grad)
                parameter.grad_is_zero = True
            else:
                self.inputs[name] = self._place(array.copy())

    def forward(self):
        """The layer's output where it is now, as it returns it."""
        for rewind in self._random:
            rewind()
        if self.before_forward is not None:
            self.before_forward()
        return self.layer.forward(*self.inputs.values())

    def backward(self, dy) -> dict:
        """{name: gradient} of the float inputs, as the layer returns them. Parameters' gradients are added to."""
        returned = self.layer.backward(dy)
        gradients = returned if isinstance(returned, tuple) else (returned,) if self.float_inputs else ()
        if len(gradients) != len(self.float_inputs):
            raise ValueError(
                f"{type(self.layer).__name__}.backward returned {len(gradients)} gradients "
                f"for {len(self.float_inputs)} inputs: {', '.join(self.float_inputs)}"
            )
        for name, gradient in zip(self.float_inputs, gradients, strict=True):
            shape = getattr(gradient, "shape", None)
            if shape != self.inputs[name].shape:
                raise ValueError(
                    f"{type(self.layer).__name__}.backward returned for {name} of shape "
                    f"{self.inputs[name].shape} {'nothing' if gradient is None else f'a gradient of shape {shape}'}"
                )
        return dict(zip(self.float_inputs, gradients, strict=True))

    def output(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """The output at `values`, a flat copy on the host: what is to be differentiated."""
        self.move_to(values)
        return flat_copy(self.forward())

    def output_shape(self, values: dict[str, np.ndarray]) -> tuple[int, ...]:
        self.move_to(values)
        return np.shape(self.forward())

    def gradients(self, values: dict[str, np.ndarray], dy: np.ndarray) -> dict[str, np.ndarray]:
        """What backward says: {name: gradient of the dot product of dy (flat) and the output}, copies on the host."""
        self.move_to(values)
        y = self.forward()
        dx = self.backward(self.shaped_like(dy, y))
        gradients = {name: to_host(gradient) for name, gradient in dx.items()}
        return gradients | {name: to_host(parameter.grad) for name, parameter in self.parameters.items()}

    def shaped_like(self, dy: np.ndarray, y):
        """The flat `dy` as the layer wants it: in the shape and dtype of the output `y`; a number for a number."""
        if np.ndim(y) == 0:
            return dy.dtype.type(dy[0])
        return self._place(dy.reshape(y.shape).astype(y.dtype))


class ModelProbe(Probe):
    """The same for a model as in gpt/model.py: `_, loss = model(idx, targets)`, then `model.backward()`."""

    def __init__(self, model: Layer, idx, targets, before_forward=None):
        super().__init__(model, (), before_forward)
        self.batch = idx, targets

    def forward(self):
        for rewind in self._random:
            rewind()
        if self.before_forward is not None:
            self.before_forward()
        _, loss = self.layer(*self.batch)
        return loss

    def backward(self, dy) -> dict:
        if dy != 1:
            raise ValueError("a model's backward is that of its loss alone")
        self.layer.backward()
        return {}


def flat_copy(y) -> np.ndarray:
    """The output as a flat array on the host that later forward passes do not touch."""
    y = y.get() if hasattr(y, "get") else y
    return np.array(y).ravel()


def _input_names(layer, count: int) -> list[str]:
    parameters = list(inspect.signature(layer.forward).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] if count <= len(names) else [f"x{i}" for i in range(count)]


def _random_sources(layer):
    """For every source of random numbers below `layer`, once: a function that rewinds it."""
    seen = set()
    for _, below in layer.named_layers():
        for thing in vars(below).values():
            if id(thing) in seen:
                continue
            if isinstance(thing, np.random.Generator):
                seen.add(id(thing))
                yield lambda generator=thing.bit_generator, state=thing.bit_generator.state: setattr(
                    generator, "state", state
                )
            elif callable(getattr(thing, "begin_step", None)):
                seen.add(id(thing))
                yield functools.partial(thing.begin_step, getattr(thing, "step", 0))
