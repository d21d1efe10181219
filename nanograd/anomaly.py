"""Which layer was the first to make a NaN or an infinity?

`with watched(model):` every layer of the model checks, each time it is called, its parameters, what it is given and
what it makes, forward and backward. Layers finish in the order of the computation, the inner ones first, so the
first that finds something is where it came from. Layers know nothing of it: for as long as the block lasts, their
`forward` and `backward` are replaced by ones that check.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from nanograd.device.parameter import Parameter
from nanograd.layers.layer import Layer, to_host


class Anomaly(ArithmeticError):
    """A number that is not finite, at its origin.

    layer: the dotted name of the layer, "" for the model itself. direction: "forward" or "backward". The text says
    all of it; `from_parameter` is True if the layer was given finite numbers and a parameter of it was not finite.
    """

    def __init__(self, layer: str, direction: str, problem: str, from_parameter: bool = False):
        super().__init__(f"{layer or 'the model'}, {direction}: {problem}")
        self.layer, self.direction, self.from_parameter = layer, direction, from_parameter


@contextmanager
def watched(*models: Layer) -> Iterator[None]:
    """Inside, the first layer of the models that meets a number that is not finite raises Anomaly.

    Each check waits for the device and looks at every number, so a step takes several times as long.
    """
    layers = []
    for model in models:
        named = dict(model.named_layers())
        for name, layer in named.items():
            check = _Check(name, layer, *_parent(name, named))
            layers.append((layer, vars(layer).copy()))
            layer.forward, layer.backward = check.forward, check.backward
    try:
        yield
    finally:
        for layer, before in layers:
            for method in ("forward", "backward"):
                del vars(layer)[method]  # and that of its class is to be seen again
                if method in before:
                    setattr(layer, method, before[method])


def _parent(name: str, named: dict[str, Layer]) -> tuple[str, Layer]:
    """The layer that calls the one of this name: for h.0 of a GPT the GPT, "" itself for ""."""
    while name:
        name = name.rpartition(".")[0]
        if name in named:
            break
    return name, named[name]


class _Check:
    """The forward and backward of one layer, with checks around them."""

    def __init__(self, name: str, layer: Layer, parent_name: str, parent: Layer):
        self.name, self.kind, self.layer = name, type(layer).__name__, layer
        self.parent_name, self.parent_kind = parent_name, type(parent).__name__
        self.own_name = name.removeprefix(parent_name).lstrip(".")
        self._forward, self._backward = layer.forward, layer.backward

    def forward(self, *inputs, **options):
        for name, parameter in self.layer._children(Parameter):
            if bad := describe(parameter.value):
                problem = f"the parameter {name} holds {bad} before anything is computed"
                raise Anomaly(self.name, "forward", problem, from_parameter=True)
        return self._run("forward", self._forward, inputs, options)

    def backward(self, *upstream, **options):
        dx = self._run("backward", self._backward, upstream, options)
        for name, parameter in self.layer._children(Parameter):
            if not parameter.grad_is_zero and (bad := describe(parameter.grad)):
                raise Anomaly(self.name, "backward", f"the gradient of {name} holds {bad}")
        return dx

    def _run(self, direction: str, function, inputs: tuple, options: dict):
        if bad := describe(*inputs):  # and no layer has made it: then it was what calls this layer
            problem = f"what the {self.parent_kind} hands to {self.own_name} holds {bad}"
            raise Anomaly(self.parent_name, direction, problem)
        size = largest(*inputs)  # taken now: the layer's own memory may be written to again
        outputs = function(*inputs, **options)
        if bad := describe(outputs):
            raise Anomaly(self.name, direction, f"the {self.kind} makes {bad}{size}")
        return outputs


def floats(*things) -> Iterator[np.ndarray]:
    """The arrays of floating-point numbers among `things` and inside their tuples, on the host."""
    for thing in things:
        if isinstance(thing, tuple):
            yield from floats(*thing)
        elif hasattr(thing, "dtype") and thing.dtype.kind not in "iub":
            yield np.asarray(to_host(thing, copy=False))


def describe(*things) -> str:
    """What is wrong with the numbers in `things`: "2 NaN and 1 infinity among 96 numbers"; "" if nothing is."""
    for array in floats(*things):
        finite = np.isfinite(array)
        if not finite.all():
            nan = int(np.isnan(array).sum())
            infinite = array.size - int(finite.sum()) - nan
            counts = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinit{'y' if infinite == 1 else 'ies'}"] * bool(
                infinite
            )
            return f"{' and '.join(counts)} among {array.size} numbers"
    return ""


def largest(*things) -> str:
    """ " from finite numbers of at most 3.1e+38", or nothing where there are no numbers."""
    sizes = [float(np.abs(array).max()) for array in floats(*things) if array.size]
    return f" from finite numbers of at most {max(sizes):.2g}" if sizes else ""
