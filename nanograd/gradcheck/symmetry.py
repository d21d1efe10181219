"""Is a backward pass the gradient of anything? Its derivative, a Hessian, must then be symmetric.

Let L be a function of x and of the parameters, θ for all of them together, and g(θ) what backward says its gradient is.
If g = ∂L/∂θ, then ∂g_i/∂θ_j = ∂²L/∂θ_j∂θ_i does not depend on the order, and for all directions u and w

    w · H u  =  u · H w        H = ∂g/∂θ

Conversely, a field g whose H is symmetric everywhere is the gradient of some function (Poincaré's lemma). So this check
never reads the loss, nor any output: most wrong backward passes are the gradient of nothing, and show here. What it
cannot see is the gradient of another function: all of it twice as large, or dropout left out of both passes.

H u = Im g(θ + i h u) / h by the complex step through forward and backward (hessian.py).

A layer has no loss. Its output y gets one, L = Σ_j (a_j y_j + b_j y_j² / 2) with random a and b, whose upstream
gradient dy = a + b y depends on y: with a constant dy a transposed Jacobian would stay unseen.

For every input and parameter two random directions are tried, each against all others: every pair of arrays has its own
entry M[u, w] = w · H u, with error |M[u, w] - M[w, u]| relative to the sum of the sizes that were added up to it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nanograd.gradcheck.check import MOVES, SMALL
from nanograd.gradcheck.derivatives import IMAGINARY, largest
from nanograd.gradcheck.hessian import derivative
from nanograd.gradcheck.probe import ModelProbe, Probe
from nanograd.layers.layer import Layer

SYMMETRY_BOUND = 1e-12


@dataclass
class SymmetryReport:
    """What was found: the largest relative error, and between which two arrays."""

    name: str
    error: float
    pair: tuple[str, str]
    compared: int  # pairs of directions
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        what = "ok" if self.ok else "WRONG: it is the gradient of no function"
        where = " and ".join(dict.fromkeys(self.pair))
        return f"{self.name}: {what} (symmetry, {self.compared} pairs, error {self.error:.1e}, worst for {where})"


class GradientField:
    """g(θ) of a Probe, by a loss that depends on the output where the layer itself is none."""

    def __init__(self, probe: Probe, rng: np.random.Generator):
        self.probe, self.rng, self.weights = probe, rng, None

    def __call__(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        probe = self.probe
        probe.move_to(values)
        y = probe.forward()
        if isinstance(probe, ModelProbe):
            dy = 1
        else:
            flat = np.ravel(np.array(y))
            if self.weights is None:
                self.weights = self.rng.standard_normal((2, flat.size))
            a, b = self.weights
            dy = probe.shaped_like(a + b * flat, y)
        gradients = {name: np.array(dx) for name, dx in probe.backward(dy).items()}
        return gradients | {name: np.array(parameter.grad) for name, parameter in probe.parameters.items()}


def check_symmetry(
    layer: Layer,
    *inputs: np.ndarray,
    spread: float = 0.5,
    tolerance: float = SYMMETRY_BOUND,
    seed: int = 0,
    before_forward: Callable[[], None] | None = None,
) -> SymmetryReport:
    """Is `layer.backward` a gradient field at `layer.forward(*inputs)`? Needs no loss, and compares with nothing.

    `layer` may be a model as in gpt/model.py, whose backward takes no argument: the inputs are then (idx, targets).
    spread: deviation of the random numbers added to every parameter. The point is moved where it lies on a kink. The
    layer is left as it was. Raises TypeError for what is not a Layer, or one whose passes do not take complex numbers,
    or whose arrays are not NumPy's.
    """
    if isinstance(layer, Layer) and not inspect.signature(layer.backward).parameters:
        probe = ModelProbe(layer, *inputs, before_forward)
    else:
        probe = Probe(layer, inputs, before_forward)
    name = type(layer).__name__
    if not probe.on_host:
        raise TypeError("symmetry is checked with complex numbers, which a GPU's kernels do not take: use NumPy")
    rng = np.random.default_rng(seed)
    with probe.borrowed():
        values = probe.values()
        for parameter in probe.parameters:
            values[parameter] = values[parameter] + spread * rng.standard_normal(values[parameter].shape)
        field = GradientField(probe, rng)
        try:
            values = _off_kinks(field, values, rng)
            entries, scales, names = _bilinear_form(field, values, rng)
        except (TypeError, np.exceptions.ComplexWarning) as error:
            raise TypeError(f"{name}: its passes do not take complex numbers ({error})") from error
    found, pair = 0.0, (next(iter(values), ""),) * 2
    floor = SMALL * scales.max(initial=0.0)
    for i, j in combinations(range(len(names)), 2):
        gap, scale = abs(entries[i, j] - entries[j, i]), max(scales[i, j], scales[j, i], floor)
        error = np.inf if np.isnan(gap) else gap / scale if scale else 0.0
        if error > found:
            found, pair = float(error), (names[i], names[j])
    return SymmetryReport(name, found, pair, len(names) * (len(names) - 1) // 2, tolerance)


def _off_kinks(field: GradientField, values: dict, rng) -> dict:
    """`values`, moved a little while the two sides of the real axis are no mirror images along a direction."""
    for _ in range(MOVES):
        u = {name: rng.standard_normal(value.shape) for name, value in values.items()}
        above, below = (derivative(field, values, u, step) for step in (IMAGINARY, -IMAGINARY))
        size = max((largest(part) for part in above.values()), default=0.0)
        if all(largest(above[name] - below[name]) <= 1e-6 * size for name in above):
            break
        values = {name: value + 1e-3 * rng.standard_normal(value.shape) for name, value in values.items()}
    return values


def _bilinear_form(field: GradientField, values: dict, rng):
    """M[u, w] = w · H u for two directions of each array, the sums of sizes in it, and the array of each direction."""
    names = [name for name in values for _ in range(2)]
    directions = [rng.standard_normal(values[name].shape) for name in names]
    M, sizes = np.zeros((2, len(names), len(names)))
    for i, name in enumerate(names):
        change = derivative(field, values, {name: directions[i]})
        for j, other in enumerate(names):
            terms = directions[j] * change[other]
            M[i, j], sizes[i, j] = terms.sum(), np.abs(terms).sum()
    return M, sizes, names
