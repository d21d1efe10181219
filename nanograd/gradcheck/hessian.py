"""Second derivatives by the complex step through a backward pass: Hessian times vector, sharpness, trace.

Backward computes the gradient g of a loss L as a function of the parameters θ. Its derivative along a direction u is
the Hessian times u, and g is as analytic as the layers are, so Taylor's series along the imaginary axis

    g(θ + i h u) = g(θ) + i h H u + O(h^2)        H u = Im g(θ + i h u) / h

gives it to the last digits (derivatives.py has the argument). It takes one forward and one backward pass in complex128,
and no derivation beyond those of the layers. Pearlmutter 1994 ("Fast exact multiplication by the Hessian") derives the
same product by hand, layer by layer.

From it follow, without H itself ever being there:

* **Sharpness**, the eigenvalue of H that is largest in size, by Lanczos's iteration. Plain gradient descent with rate η
  grows along every direction whose eigenvalue is above 2/η; training tends to go up to that edge and stay there (Cohen
  et al. 2021, https://arxiv.org/abs/2103.00065). AdamW divides each direction by its own size, so its edge is another.
* **Trace**, the sum of all eigenvalues, by Hutchinson's estimate: for a vector z of random signs, E[z · H z] = tr H,
  since E[z_i z_j] is 1 where i = j and 0 elsewhere (Hutchinson 1990).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nanograd.gradcheck.derivatives import IMAGINARY
from nanograd.gradcheck.probe import ModelProbe
from nanograd.layers.layer import Layer

LANCZOS_STEPS = 20
SIGNS = 16  # vectors of random signs for a trace
CONVERGED = 1e-4  # relative, of two estimates of the sharpness in a row

Arrays = dict[str, np.ndarray]


def derivative(gradients: Callable[[Arrays], Arrays], values: Arrays, u: Arrays, step: float = IMAGINARY) -> Arrays:
    """H u = Im g(θ + i h u) / h of `gradients` at `values`; an array that `u` lacks does not move."""
    moved = {name: value + 1j * step * u.get(name, 0.0) for name, value in values.items()}
    return {name: g.imag / step for name, g in gradients(moved).items()}


class Estimate(NamedTuple):
    """A mean over random vectors, and its standard error."""

    mean: float
    error: float


class Hessian:
    """The Hessian of the loss of `_, loss = model(idx, targets)` by all parameters, at the values that they have.

    `product(u)` is H u for flat vectors (n,) in float64; `names` and `shapes` say what lies where. Randomness below the
    model is held fixed, so that the loss is one function; call `model.eval()` first to leave dropout out.
    Use it as a context: within it the model computes in complex128, and afterwards it is as it was.
    """

    def __init__(self, model: Layer, idx, targets):
        self.probe = ModelProbe(model, idx, targets)

    def __enter__(self):
        self._borrowed = self.probe.borrowed()
        self._borrowed.__enter__()
        self.values = self.probe.values()
        self.shapes = {name: value.shape for name, value in self.values.items()}
        self.size = sum(value.size for value in self.values.values())
        return self

    def __exit__(self, *error):
        return self._borrowed.__exit__(*error)

    def product(self, u: np.ndarray) -> np.ndarray:  # (n,) -> (n,)
        found = derivative(lambda values: self.probe.gradients(values, np.ones(1)), self.values, self.named(u))
        return np.concatenate([found[name].ravel() for name in self.values])

    def named(self, u: np.ndarray) -> Arrays:
        """A flat vector (n,) as arrays by the parameters' names."""
        parts = np.split(u, np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes.values()])[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def hessian_vector_product(model: Layer, idx, targets, direction: Arrays) -> Arrays:
    """H u for the loss of `_, loss = model(idx, targets)`: {parameter: array}, exact to rounding in float64.

    `direction` is u, {parameter: array of its shape}; a parameter that it lacks does not move. The model keeps its
    values, gradients and randomness. Raises ValueError for an unknown name or another shape.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, part in direction.items():
        if name not in shapes:
            raise ValueError(f"the model has no parameter {name!r}")
        if np.shape(part) != shapes[name]:
            raise ValueError(f"the direction of {name} has shape {np.shape(part)}, expected {shapes[name]}")
    u = np.concatenate([np.ravel(direction.get(name, np.zeros(shape))) for name, shape in shapes.items()])
    with Hessian(model, idx, targets) as hessian:
        return hessian.named(hessian.product(u.astype(np.float64)))


def sharpness(model: Layer, idx, targets, *, steps: int = LANCZOS_STEPS, seed: int = 0) -> float:
    """The eigenvalue of the loss's Hessian that is largest in size, with its sign; in nats per unit of θ squared.

    Takes at most `steps` Hessian-vector products, fewer where the estimate no longer changes.
    """
    with Hessian(model, idx, targets) as hessian:
        return largest_eigenvalue(hessian.product, hessian.size, steps, seed)


def hessian_trace(model: Layer, idx, targets, *, vectors: int = SIGNS, seed: int = 0) -> Estimate:
    """The trace of the loss's Hessian as a mean over `vectors` vectors of random signs, with its standard error."""
    rng = np.random.default_rng(seed)
    with Hessian(model, idx, targets) as hessian:
        signs = (rng.choice([-1.0, 1.0], hessian.size) for _ in range(vectors))
        found = np.array([z @ hessian.product(z) for z in signs])
    return Estimate(float(found.mean()), float(found.std(ddof=1) / np.sqrt(vectors)) if vectors > 1 else np.inf)


def largest_eigenvalue(product: Callable, size: int, steps: int = LANCZOS_STEPS, seed: int = 0) -> float:
    """The largest eigenvalue in size of a symmetric matrix that is there as `product(v)` alone.

    Lanczos 1950: in the basis that Gram-Schmidt makes of v, H v, H² v, … the matrix is tridiagonal, and the extreme
    eigenvalues of its first few rows are soon those of H. Each new vector is made orthogonal to all before it.
    """
    v = np.random.default_rng(seed).standard_normal(size)
    basis, diagonal, beside, best = [v / np.linalg.norm(v)], [], [], 0.0
    for _ in range(min(steps, size)):
        w = product(basis[-1])
        diagonal.append(basis[-1] @ w)
        for _ in range(2):  # twice, as the first leaves rounding
            for b in basis:
                w = w - (b @ w) * b
        length = np.linalg.norm(w)
        eigenvalues = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        before, best = best, float(max(eigenvalues, key=abs))
        if abs(best - before) <= CONVERGED * abs(best) or length <= 1e-12 * abs(best):
            break
        beside.append(length)
        basis.append(w / length)
    return best
