"""What went into the two passes of layers and came out, kept on the host: the arrays of a training step, to be checked.

For as long as a block of `kept_passes` lasts, layers' `forward` and `backward` are replaced by ones that keep copies.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from nanograd.layers import Layer, Linear
from nanograd.layers.layer import to_host


@dataclass
class Passes:
    """One layer's two passes: what each was given and gave, float64 copies on the host; and its parameters."""

    layer: Layer
    given: list
    y: np.ndarray
    dy: np.ndarray | None = None
    beside: np.ndarray | None = None  # the gradient of the residual, which backward adds to dx
    dx: tuple = ()
    value: dict[str, np.ndarray] = field(default_factory=dict)
    grad: dict[str, np.ndarray] = field(default_factory=dict)  # what this backward added
    bias_before: np.ndarray | None = None  # the gradient of a Linear's bias, when forward was called


@contextlib.contextmanager
def kept_passes(model: Layer, kinds: Collection[type]) -> Iterator[dict[str, Passes]]:
    """Within it the last two passes of every layer of one of the `kinds` are kept: {its dotted name: Passes}."""
    found: dict[str, Passes] = {}
    layers = [(name or type(layer).__name__, layer) for name, layer in model.named_layers() if type(layer) in kinds]
    for name, layer in layers:
        layer.forward = _kept_forward(found, name, layer, layer.forward)
        layer.backward = _kept_backward(found, name, layer.backward)
    try:
        yield found
    finally:
        for _, layer in layers:
            del layer.forward, layer.backward


def _kept_forward(found: dict, name: str, layer: Layer, forward: Callable) -> Callable:
    @functools.wraps(forward)
    def kept(*given, **options):
        before = [float64_copy(array) for array in given]
        y = forward(*given, **options)
        result = float64_copy(options.get("out", y))
        if options.get("bias") is not None:  # an activation that adds the bias of the Linear before it
            before[0] = before[0] + float64_copy(options["bias"])
        if not options.get("add_bias", True) and layer.bias is not None:  # and that Linear
            result = result + float64_copy(layer.bias.value)
        found[name] = Passes(layer, before, result)
        if isinstance(layer, Linear) and layer.bias is not None:
            found[name].bias_before = float64_copy(layer.bias.grad)
        return y

    return kept


def _kept_backward(found: dict, name: str, backward: Callable) -> Callable:
    @functools.wraps(backward)
    def kept(*given, **options):
        passes = found[name]
        own = {n: p for n, p in passes.layer.named_parameters() if "." not in n}
        before = {n: float64_copy(p.grad) for n, p in own.items()}
        if not options.get("add_bias", True) and "bias" in own:  # the layer above has added its gradient already
            before["bias"] = passes.bias_before
        passes.dy, passes.beside = float64_copy(given[0]) if given else np.float64(1), None
        if len(given) > 1:
            passes.beside = float64_copy(given[1])
        dx = backward(*given, **options)
        passes.dx = tuple(map(float64_copy, dx)) if isinstance(dx, tuple) else (float64_copy(options.get("out", dx)),)
        passes.value = {n: float64_copy(p.value) for n, p in own.items()}
        passes.grad = {n: float64_copy(p.grad) - before[n] for n, p in own.items()}
        return dx

    return kept


def float64_copy(value):
    """A copy on the host, of ids as they are; what is no array is returned as it is."""
    if not hasattr(value, "dtype"):
        return value
    host = to_host(value)
    return host if host.dtype.kind in "iu" else host.astype(np.float64)
