"""What every right gradient obeys, checked on the arrays of a training step: no reference, any size, dtype and backend.

Within `recorded(model)` every layer below keeps copies of what went into its two passes and came out. A fact is then an
equation between sums of those numbers, made in float64, so that only the layer's own rounding is seen:

    cross-entropy    a row of dlogits sums to 0: adding a number to all logits of a position changes no loss
    LayerNorm        dx sums to 0, and is orthogonal to xhat but for eps: a shift and a stretch are lost
    RMSNorm          the second alone
    ReLU, Linear     y(c x) = c^k y(x) gives x · dx = k y · dy (Euler): k = 1, for ReLU squared 2, Linear without bias.
                     Linear's weights appear in y as x does: W · dW = y · dy. SwiGLU is linear in up
    attention        the weights of a row sum to 1, so dv adds up to dy; a vector added to all keys changes none of
                     them, so dk adds up to 0; v · dv = y · dy; q · dq = k · dk, as scores are products of both
    RoPE             keeps lengths: |dx| = |dy|
    biases           get the sum of dy over positions; a table the sum of what came to its rows
    two uses         of a tied table add up: W · dW = y · dy of the embedding + y · dy of the head

**Bounds.** A sum of n products in arithmetic of unit roundoff u is off by at most γ_n Σ|x_i||y_i|, with
γ_n = n u / (1 - n u) (Higham 2002, chapter 3). Roundings go up as often as down: with a probability that nears 1
quickly as λ grows, λ sqrt(n) u Σ|x_i||y_i| holds too (Higham & Mary 2019, https://doi.org/10.1137/18M1226312), and
errors of single numbers add up as their squares do. That is used here, with λ = 6: each number gets the bound of the
sum that made it, and the sums of those are the bounds of facts. A sum in a bad order, or in a type that is too narrow,
is beyond it. Of float64 the check itself, which adds up in float64 too, is off by as much: its unit is taken twice.
"""

import functools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from nanograd.gradcheck.recording import Passes, float64_copy, kept_passes
from nanograd.layers import (
    GELU,
    Attention,
    CrossEntropy,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    LMHead,
    ReLU,
    ReLUSquared,
    ResidualLinear,
    RMSNorm,
    RoPE,
    SwiGLU,
)

LAMBDA = 6.0
TIED = "two uses of a table add up"
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass
class Fact:
    """A fact of a layer, and its largest error in units of its bound: above 1 the fact does not hold."""

    name: str
    where: str
    ratio: float
    compared: int

    @property
    def ok(self) -> bool:
        return self.ratio <= 1


@dataclass
class Unit:
    """Unit roundoffs of a precision: of what is `stored`, of sums as they are `added`, of the `factors` of products."""

    stored: float
    added: float
    factors: float

    @classmethod
    def of(cls, precision: str) -> "Unit":
        stored = UNITS["float32" if precision == "tf32" else precision]
        added = UNITS["float32"]
        if precision == "float64":
            stored = added = 2 * UNITS["float64"]
        return cls(stored, added, 0.0 if precision in ("float32", "float64") else UNITS[precision])

    def of_sum(self, result, n: int, size):
        """The error of a stored `result` of a sum of n products, the root of whose sum of squares is `size`."""
        return self.stored * np.abs(result) + (np.sqrt(n) * self.added + self.factors) * size


def recorded(model: Layer) -> AbstractContextManager[dict[str, Passes]]:
    """Within it the last two passes of every layer that has facts are kept: {its dotted name: Passes}."""
    return kept_passes(model, FACTS)


def facts_of(found: dict[str, Passes], precision: str) -> Iterator[Fact]:
    """The facts of all recorded layers in arithmetic of `precision` ("float32", "tf32", …)."""
    unit = Unit.of(precision)
    uses = defaultdict(list)
    for where, p in found.items():
        if p.dy is None:
            continue
        for name, error, bound in FACTS[type(p.layer)](p, unit):
            yield Fact(name, where, largest_ratio(error, LAMBDA * bound), int(np.size(error)))
        if isinstance(p.layer, Embedding | LMHead):
            uses[id(p.layer.weight)].append((where, p))
    for both in uses.values():
        if len(both) > 1:
            yield _tied(both, unit)


def largest_ratio(error, bound) -> float:
    """The largest |error| / bound. No error is 0 whatever its bound; NaN, and an error whose bound is 0, infinity."""
    error, bound = np.broadcast_arrays(np.abs(np.atleast_1d(error)), bound)
    if np.isnan(error).any() or np.isnan(bound).any():
        return float("inf")
    with np.errstate(divide="ignore"):
        return float(np.divide(error, bound, out=np.zeros_like(error), where=error != 0).max(initial=0))


def _flat(array):  # (..., C) -> (N, C)
    return array.reshape(-1, array.shape[-1])


def _root(*terms):
    """How far a sum may be off whose numbers are off by `terms`, independently of each other."""
    return np.sqrt(sum(np.square(term).sum() for term in terms))


def positions_of(p: Passes) -> int:
    """What the loss of a CrossEntropy is divided by: the count that it was given, or the targets that count."""
    return (len(p.given) > 2 and p.given[2]) or int((np.asarray(p.given[1]) >= 0).sum())


def loss_parts(p: Passes, unit: Unit):
    """dlogits (N, V) of a CrossEntropy, and how far each may be off. They are (p - 1 at the target) / positions, and as
    far off as p is: near 1, p - 1 loses its digits."""
    rows, targets = _flat(p.dx[0]), np.asarray(p.given[1]).ravel()
    counts = (targets >= 0)[:, None]
    probabilities = rows + counts * (np.arange(rows.shape[-1]) == targets[:, None]) / positions_of(p)
    return rows, (2 * unit.stored + unit.added) * (np.abs(probabilities) + np.abs(rows))


def _cross_entropy(p: Passes, unit: Unit):
    rows, off = loss_parts(p, unit)
    common = np.sqrt(rows.shape[-1]) / (2 + unit.stored / unit.added)  # z's error is that of all p of a row
    yield "rows of dlogits sum to 0", rows.sum(-1), np.sqrt(np.square(off).sum(-1)) + common * off.sum(-1)


def _norm(p: Passes, unit: Unit, centred: bool):
    x, dy, out = _flat(p.given[0]), _flat(p.dy), _flat(p.dx[0])
    C = x.shape[-1]
    residual = 0.0 if p.beside is None else _flat(p.beside)
    mean = x.mean(-1, keepdims=True) if centred else 0.0
    rstd = 1 / np.sqrt(np.square(x - mean).mean(-1, keepdims=True) + p.layer.eps)
    xhat, g, dx = (x - mean) * rstd, dy * p.value.get("weight", 1.0), out - residual
    stretch = (g * xhat).mean(-1, keepdims=True)
    # Of xhat: it is stored, and the mean taken from x is off. Of dx: it is stored, and the sum of up to three terms.
    off = np.sqrt(C) * unit.added * np.abs(x).mean(-1, keepdims=True) * rstd if centred else 0.0
    of_xhat = unit.stored * np.abs(xhat) + off
    terms = rstd * (np.abs(g) + np.abs(xhat * stretch) + np.abs(g).mean(-1, keepdims=True) * centred)
    of_dx = unit.stored * (np.abs(out) + np.abs(dx)) + 3 * unit.added * terms + rstd * np.abs(stretch) * of_xhat
    # Of the two means, which act on all channels at once.
    of_mean = np.sqrt(C) * unit.added * rstd * np.abs(g).sum(-1, keepdims=True) * centred
    of_stretch = rstd * (np.sqrt(C) * unit.added * np.abs(g * xhat) + np.abs(g) * of_xhat).sum(-1, keepdims=True)
    if centred:
        shifted = rstd * np.abs(stretch) * C * off
        bound = np.sqrt(np.square(of_dx).sum(-1)) + (of_mean + shifted)[:, 0]
        yield "dx sums to 0", dx.sum(-1), bound
    lost = p.layer.eps * rstd**3 * stretch * C  # as the mean of xhat^2 is 1 - eps rstd^2
    bound = np.sqrt(np.square(of_dx * xhat).sum(-1)) + (of_stretch + of_mean * np.sqrt(C) * unit.added)[:, 0]
    yield "dx is orthogonal to xhat", (dx * xhat).sum(-1) - lost[:, 0], bound
    if "weight" in p.grad:
        products = np.sqrt(np.square(dy * xhat).sum(0))
        bound = unit.of_sum(p.grad["weight"], len(dy), products) + np.sqrt(np.square(dy * of_xhat).sum(0))
        yield "dweight is the sum of dy xhat", p.grad["weight"] - (dy * xhat).sum(0), bound
    yield from _bias(p, unit)


def _bias(p: Passes, unit: Unit):
    if "bias" in p.grad:
        dy = _flat(p.dy)
        bound = unit.of_sum(p.grad["bias"], len(dy), np.sqrt(np.square(dy).sum(0)))
        yield "dbias is the sum of dy", p.grad["bias"] - dy.sum(0), bound


def _linear(p: Passes, unit: Unit):
    x, dy, dx, y = _flat(p.given[0]), _flat(p.dy), _flat(p.dx[0]), _flat(p.y) - p.value.get("bias", 0.0)
    if _residual(p) is not None:
        y = y - _residual(p)
    W, dW = p.value["weight"], p.grad["weight"]
    of_y, of_dx, of_dW = linear_bounds(p, unit)
    right, off = (y * dy).sum(), _root(dy * of_y)
    yield "x . dx = y . dy", (x * dx).sum() - right, off + _root(x * of_dx)
    yield "W . dW = y . dy", (W * dW).sum() - right, off + _root(W * of_dW)
    if not isinstance(p.layer, LMHead):
        yield from _bias(p, unit)


def _residual(p: Passes):
    """What a ResidualLinear was given to add its branch to, (N, n_out), or None."""
    there = isinstance(p.layer, ResidualLinear) and len(p.given) > 1 and p.given[1] is not None
    return _flat(p.given[1]) if there else None


def linear_bounds(p: Passes, unit: Unit):
    """How far y (N, n_out), dx (N, n_in) and dW, as it is stored, of a Linear or LMHead may be off."""
    x, dy, stored = _flat(p.given[0]), _flat(p.dy), np.abs(_flat(p.y))
    if _residual(p) is not None:
        stored = stored + np.abs(_residual(p))
    transposed = isinstance(p.layer, LMHead)  # stored (out, in)
    W2 = np.square(p.value["weight"].T if transposed else p.value["weight"])
    of_y = unit.of_sum(stored, len(W2), np.sqrt(np.square(x) @ W2))
    of_dx = unit.of_sum(_flat(p.dx[0]), W2.shape[1], np.sqrt(np.square(dy) @ W2.T))
    size = np.sqrt(np.square(x).T @ np.square(dy))
    of_dW = unit.added * np.abs(p.grad["weight"])
    of_dW += (np.sqrt(len(x)) * unit.added + unit.factors) * (size.T if transposed else size)
    return of_y, of_dx, of_dW


def _relu(p: Passes, unit: Unit, k: int):
    x, dx, right = p.given[0], p.dx[0], k * p.y * p.dy
    yield f"x . dx = {'' if k == 1 else f'{k} '}y . dy", (x * dx - right).sum(), 2 * unit.stored * _root(x * dx, right)


def _swiglu(p: Passes, unit: Unit):
    left, right = p.given[1] * p.dx[1], p.y * p.dy
    yield "up . dup = y . dy", (left - right).sum(), 4 * unit.stored * _root(left, right)


def attention_parts(p: Passes):
    """q, k, v, their gradients, y and dy of an Attention, (B, K, n, D); n counts all queries that ask these keys."""
    q, k, v = p.layer.split(p.given[0])  # (B, H, T, D), (B, K, T, D) twice
    dq, dk, dv = p.layer.split(p.dx[0])
    (B, H, T, D), K = q.shape, k.shape[1]
    y, dy = (array.reshape(B, T, H, D).swapaxes(1, 2) for array in (p.y, p.dy))
    q, dq, y, dy = (array.reshape(B, K, -1, D) for array in (q, dq, y, dy))
    return q, k, v, dq, dk, dv, y, dy


def attention_bounds(p: Passes, unit: Unit):
    """How far dS, dq, dk, dv and y of an Attention may be off, shaped as its parts are, or to be broadcast to them."""
    q, k, v, dq, dk, dv, y, dy = attention_parts(p)
    T, D = k.shape[2:]
    n = np.sqrt(T) * unit.added + unit.factors + unit.stored
    # Of dS: a row is P (dP - its mean), with |dP| at most |dy| |v|; its rounding, of a row whose weights sum to 1.
    longest = [np.sqrt(np.square(array).sum(-1)).max(-1)[..., None, None] for array in (v, k)]  # (B, K, 1, 1)
    of_dS = 2 * n * np.sqrt(np.square(dy).sum(-1, keepdims=True)) * longest[0] / np.sqrt(D)  # (B, K, HT/K, 1)
    of_dv = unit.stored * np.abs(dv) + n * np.sqrt(np.square(dy).sum(2, keepdims=True))
    of_y = unit.stored * np.abs(y) + n * np.abs(v).max(2, keepdims=True)
    of_dk = unit.stored * np.abs(dk) + np.sqrt(np.square(q * of_dS).sum(2, keepdims=True))
    of_dq = unit.stored * np.abs(dq) + of_dS * longest[1]
    return of_dS, of_dq, of_dk, of_dv, of_y


def _attention(p: Passes, unit: Unit):
    q, k, v, dq, dk, dv, y, dy = attention_parts(p)
    of_dS, of_dq, of_dk, of_dv, of_y = attention_bounds(p, unit)
    n = np.sqrt(k.shape[2]) * unit.added + unit.factors + unit.stored

    def over(axes, *terms):
        return np.sqrt(sum(np.square(term).sum(axes) for term in terms))

    yield "dv adds up to dy", dv.sum(2) - dy.sum(2), over(2, unit.stored * dv, n * dy)
    yield "dk adds up to 0", dk.sum(2), over(2, unit.stored * dk, q * of_dS)
    yield "v . dv = y . dy", (v * dv).sum((2, 3)) - (y * dy).sum((2, 3)), over((2, 3), v * of_dv, dy * of_y)
    yield "q . dq = k . dk", (q * dq).sum((2, 3)) - (k * dk).sum((2, 3)), over((2, 3), q * of_dq, k * of_dk)


def _rope(p: Passes, unit: Unit):
    dy, dx = p.dy, p.dx[0]
    error = np.square(dx).sum(-1) - np.square(dy).sum(-1)
    yield "|dx| = |dy|", error, 4 * unit.stored * np.square(dy).sum(-1)


def _embedding(p: Passes, unit: Unit):
    dy = _flat(p.dy)
    rows = np.sqrt(np.square(p.grad["weight"]).sum(0))
    bound = unit.added * rows + np.sqrt(len(dy)) * unit.added * np.sqrt(np.square(dy).sum(0))
    yield "rows of the table's gradient add up to dy", p.grad["weight"].sum(0) - dy.sum(0), bound


def _tied(both: list, unit: Unit) -> Fact:
    """W · dW of a table that is used twice, dW being all of its gradient, is the sum of both y · dy."""
    weight = both[0][1].layer.weight
    W, dW = float64_copy(weight.value), float64_copy(weight.grad)
    right = off = 0.0
    for _, p in both:
        right += (p.y * p.dy).sum()
        n = p.y.shape[-1] if isinstance(p.layer, Embedding) else W.shape[1]
        size = np.abs(p.y) if isinstance(p.layer, Embedding) else np.sqrt(np.square(_flat(p.given[0])) @ np.square(W).T)
        off += _root(_flat(p.dy) * unit.of_sum(_flat(p.y), n, _flat(size)))
    rows = sum(p.dy.size // p.dy.shape[-1] for _, p in both)
    of_dW = (np.sqrt(rows) * unit.added + unit.factors) * sum(_spread(p) for _, p in both) + unit.added * np.abs(dW)
    error = (W * dW).sum() - right
    return Fact(
        TIED, " and ".join(where for where, _ in both), largest_ratio(error, LAMBDA * (off + _root(W * of_dW))), 1
    )


def _spread(p: Passes) -> np.ndarray:  # -> (n, dim)
    """The root of the sum of squares of what was added up to a table's gradient."""
    dy = _flat(p.dy)
    if isinstance(p.layer, LMHead):
        return np.sqrt(np.square(dy).T @ np.square(_flat(p.given[0])))
    total = np.zeros_like(p.value["weight"])
    np.add.at(total, p.given[0].ravel(), np.square(dy))
    return np.sqrt(total)


FACTS = {
    CrossEntropy: _cross_entropy,
    LayerNorm: functools.partial(_norm, centred=True),
    RMSNorm: functools.partial(_norm, centred=False),
    Linear: _linear,
    ResidualLinear: _linear,
    LMHead: _linear,
    ReLU: functools.partial(_relu, k=1),
    ReLUSquared: functools.partial(_relu, k=2),
    GELU: lambda p, unit: (),  # nothing of its own: repeats.py runs it again
    SwiGLU: _swiglu,
    Attention: _attention,
    RoPE: _rope,
    Embedding: _embedding,
}
