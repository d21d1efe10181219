"""A gradient check as a picture: how fast Taylor's remainder falls.

For a function f, a point x, a direction u and what is claimed to be the gradient g, Taylor's theorem says

    f(x + h u) = f(x) + h ∇f · u + O(h²)        r(h) = |f(x + h u) - f(x) - h g · u|

If g is the gradient, the remainder r falls with h²: a tenth of the step, a hundredth of the remainder. If it is not,
the linear terms do not cancel and r falls with h alone.

On doubly logarithmic axes these are lines of slope 2 and 1. Below
some h both end on a floor, the rounding of f itself: about 1e-16 |f| in float64, 1e-8 |f| in float32, which is why a
check by differences cannot simply take a tiny step.
"""

import os
from dataclasses import dataclass

import numpy as np

from nanograd.gradcheck.probe import Probe
from nanograd.layers import Layer, LayerNorm

STEPS = 10.0 ** np.linspace(0, -12, 49)
COLOURS = "#0072B2", "#D55E00"


@dataclass
class Slopes:
    """Remainders at the sizes `steps` of a step, for the right gradient and for a wrong one, in a precision."""

    steps: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    floor: float  # unit roundoff times |f|

    def slope(self, remainders: np.ndarray) -> float:
        """How steep `remainders` falls where it is well above the floor, on doubly logarithmic axes."""
        used = (remainders > 1e3 * self.floor) & (self.steps < 0.005)
        return float(np.polyfit(np.log(self.steps[used]), np.log(remainders[used]), 1)[0])


def taylor_remainders(layer: Layer, *inputs: np.ndarray, dtype: str = "float64", seed: int = 0) -> Slopes:
    """Remainders of f = dy · layer(inputs) for a random dy, along a random direction of all inputs and parameters.

    The right gradient is the layer's own; the wrong one is that with a mistake planted (`with_a_mistake`). The sums are
    made in `dtype`: "float64" or "float32".
    """
    probe = Probe(layer, inputs)
    rng = np.random.default_rng(seed)
    with probe.borrowed():
        values = probe.values()
        for name in probe.parameters:
            values[name] += 0.5 * rng.standard_normal(values[name].shape)
        u = {n: rng.standard_normal(v.shape) for n, v in values.items()}
        length = np.sqrt(sum(np.square(part).sum() for part in u.values()))
        u = {n: part / length for n, part in u.items()}
        dy = rng.standard_normal(probe.output(values).size)
        gradients = probe.gradients(values, dy)
        here = float(dy @ probe.output(values))

        def f(step: float) -> float:
            moved = {n: (values[n] + step * u[n]).astype(dtype) for n in values}
            return float(dy @ probe.output(moved).astype(np.float64))

        claimed = gradients, with_a_mistake(layer, values, gradients, dy)
        slopes = [sum((g[n] * u[n]).sum() for n in values) for g in claimed]
        base = f(0.0)
        right, wrong = (np.array([abs(f(h) - base - h * slope) for h in STEPS]) for slope in slopes)
    return Slopes(STEPS, right, wrong, float(np.finfo(dtype).eps) * abs(here))


def with_a_mistake(layer: Layer, values: dict, gradients: dict, dy: np.ndarray) -> dict:
    """`gradients`, but wrong: LayerNorm's without the mean of g, any other's with the first of them 10 % too large."""
    if isinstance(layer, LayerNorm):
        x = values["x"]
        g = dy.reshape(x.shape) * values["weight"]
        rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
        return gradients | {"x": gradients["x"] + rstd * g.mean(-1, keepdims=True)}
    first = next(iter(gradients))
    return gradients | {first: 1.1 * gradients[first]}


def draw_slopes(name: str, layer: Layer, inputs: tuple, path: str | os.PathLike, seed: int = 0) -> None:
    """Draw the remainders in float64 and float32 beside each other into `path`, a PNG or SVG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    mistake = "without the mean of g" if isinstance(layer, LayerNorm) else "one gradient 10 % too large"
    for axes, dtype in zip(figure.subplots(1, 2, sharey=True), ("float64", "float32"), strict=True):
        found = taylor_remainders(layer, *inputs, dtype=dtype, seed=seed)
        for remainders, colour, label in zip(
            (found.right, found.wrong), COLOURS, ("the layer's gradient: slope 2", f"{mistake}: slope 1"), strict=True
        ):
            axes.loglog(found.steps, np.maximum(remainders, found.floor / 100), color=colour, marker=".", label=label)
        axes.axhline(found.floor, color="0.5", linestyle=":", label="rounding of f")
        axes.invert_xaxis()
        axes.set_title(f"{name}, {dtype}")
        axes.set_xlabel("step h")
        axes.grid(True, color="0.9")
    figure.axes[0].set_ylabel("|f(x + h u) - f(x) - h g · u|")
    figure.axes[0].legend(loc="upper right", fontsize="small")
    figure.savefig(path, dpi=150)
