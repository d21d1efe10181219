"""Muon: momentum whose every matrix is made nearly orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Why. To first order a step D changes the loss by <G, D>, for the gradient G of a matrix. AdamW bounds every entry of D.
But a matrix works as a whole: D changes a layer's output x D by at most |x| s, where s is the largest singular value of
D. With G = U S V^T, the D of s = 1 that lowers the loss the most is -U V^T, as <G, D> = sum_i S_i u_i^T D v_i and no
u_i^T D v_i is below -1. U V^T is the polar factor of G. Directions that few tokens ask for move as far as common ones.

How. An odd polynomial of a matrix acts on its singular values alone, since X X^T = U S^2 U^T:

    (a I + b A + c A^2) X  =  U (a S + b S^3 + c S^5) V^T                    A = X X^T

X = G / |G| has all of them in [0, 1]. With a = 3.4445, b = -4.7750, c = 2.0315 small ones grow fast, and those that
came up wander within [0.68, 1.21]. STEPS = 5 bring all above 0.0015 there (a^5 = 485); the few below lag behind.

Completing the square leaves no sum of matrices: a I + b A + c A^2 = (sqrt(c) A + SHIFT I)^2 + REST I, with
SHIFT = b / 2 sqrt(c) and REST = a - b^2 / 4c. X is kept times UNIT = c^(1/4), so that X X^T brings the sqrt(c) along.

X may be transposed at will, so m <= n is assumed. Where n is much larger, X is met twice, not ten times: with P_k the
factor of step k, A_k+1 = P_k A_k P_k = A_k P_k^2, as all are polynomials in A_1, and the result is P_5 ... P_1 X.

The step, for weights W (in, out): W = W - lr weight_decay W - lr sqrt(max(1, out / in)) polar(g + momentum b), where
b = momentum b + g. The root lets a layer with more outputs than inputs change each of them as much as a square one.
With `scale_rows` (NorMuon, Li et al. 2025, arxiv.org/abs/2510.05491) each neuron's part of the update, which is a
column here, is divided by the root of v = 0.95 v + 0.05 |column|^2, and the whole brought back to the norm that it had.
"""

import math

from nanograd.device.blas import axpby
from nanograd.device.device import fused, xp_of
from nanograd.device.gemm import products
from nanograd.layers.layer import Layer
from nanograd.optim.adamw import CHUNK, AdamW, below_one, check_model, check_range, in_slices, not_negative, zeros
from nanograd.optim.arena import parts_of
from nanograd.optim.matrices import Matrix, batches, clear, linear_weights, matrices_of, share_out

A, B, C = 3.4445, -4.7750, 2.0315
SHIFT, REST, UNIT = B / (2 * math.sqrt(C)), A - B * B / (4 * C), C**0.25
STEPS = 5
MEMORY = 0.95  # of v
LEAST = 1e-20  # added to what is divided by, so that a matrix or column of zeros stays one


def newton_schulz(x):  # (M, m, n), m <= n -> (M, m, n)
    """Five steps for each matrix of `x`, whose norm is at most UNIT; the result is UNIT times nearly orthogonal."""
    if x.shape[2] < 2 * x.shape[1]:
        for _ in range(STEPS):
            x = products(factor(products(x, x.swapaxes(1, 2))), x)
        return x
    a = products(x, x.swapaxes(1, 2))
    whole = p = factor(a)
    for _ in range(STEPS - 1):
        a = products(a, products(p, p))
        p = factor(a)
        whole = products(p, whole)
    return products(whole, x)


def factor(a):  # (M, m, m), symmetric -> (M, m, m)
    """(a + SHIFT I)^2 + REST I."""
    a = a.copy()
    diagonal = slice(None), slice(None, None, a.shape[1] + 1)
    a.reshape(len(a), -1)[diagonal] += SHIFT
    p = products(a, a)
    p.reshape(len(p), -1)[diagonal] += REST
    return p


def orthogonalize(matrices: list[Matrix]) -> None:
    """Make each u, all of one shape (in, out), nearly orthogonal and of Muon's size; where there is a v, use it."""
    xp, (n_in, n_out) = xp_of(matrices[0].u), matrices[0].u.shape
    x = xp.stack([matrix.u for matrix in matrices])  # (M, in, out)
    x *= UNIT / (xp.sqrt((x * x).sum(1, keepdims=True).sum(2, keepdims=True)) + LEAST)
    y = newton_schulz(x) if n_in <= n_out else newton_schulz(x.swapaxes(1, 2)).swapaxes(1, 2)
    if matrices[0].v is not None:
        y *= equal_columns(y, [matrix.v for matrix in matrices])
    y *= math.sqrt(max(1, n_out / n_in)) / UNIT
    for matrix, update in zip(matrices, y, strict=True):
        matrix.u[...] = update


def equal_columns(u, v: list):  # (M, in, out), M of (out,) -> (M, 1, out)
    """The factors that bring the columns of each u to one size on average, and leave |u| as it is. Updates each v."""
    xp, squares = xp_of(u), (u * u).sum(1)  # (M, out)
    mean = MEMORY * xp.stack(v) + (1 - MEMORY) * squares
    for number, own in enumerate(v):
        own[...] = mean[number]
    factors = 1 / xp.sqrt(mean + LEAST)
    after = (squares * factors * factors).sum(1, keepdims=True)
    return (factors * xp.sqrt(squares.sum(1, keepdims=True) / (after + LEAST)))[:, None]


@fused
def momentum_update(g, b, u, momentum, grad_scale):
    """b = momentum b + g, u = g + momentum b for flat arrays (n,), where g stands for g * grad_scale."""
    for start in range(0, len(g), CHUNK):
        g_part, b_part, u_part = (array[start : start + CHUNK] for array in (g, b, u))
        axpby(grad_scale, g_part, momentum, b_part)
        u_part[...] = b_part
        axpby(grad_scale, g_part, momentum, u_part)


@fused
def add_update(p, u, lr, decay, grad_scale):
    """p = (1 - lr decay) p - lr u for flat arrays (n,). On a GPU grad_scale may be NaN, and then p stays as it is."""
    axpby(-lr, u, 1 - lr * decay, p)


class Muon(AdamW):
    """Muon for the weights of `model`'s Linear layers, and AdamW, with its own arguments, for all the rest.

    Each of several matrices side by side (`Parameter.widths`) has its own update. `workers` of the pool's threads make
    them, by default all; each of `ranks`, a Communicator, makes a part of the updates, and then they are added up.
    """

    def __init__(
        self, model: Layer, *args, muon_lr=0.02, momentum=0.95, scale_rows=False, workers=None, ranks=None, **settings
    ):
        check_model(model, "Muon(model, lr=...)")
        check_range("muon_lr", muon_lr, not_negative, "at least 0")
        check_range("momentum", momentum, below_one, "at least 0 and below 1")
        if workers is not None:
            check_range("workers", workers, lambda value: value >= 1, "at least 1")
        self.muon_lr, self.momentum, self.scale_rows = muon_lr, momentum, scale_rows
        self.ranks, self.workers = ranks, workers
        own = set(linear_weights(model))
        super().__init__(model, *args, **settings, names={name for name, _ in model.named_parameters()} - own)

    def _make_moments(self) -> None:
        super()._make_moments()
        self.muon_parts = parts_of(self.model, linear_weights(self.model))
        self.momenta, self.updates = ([zeros(part.values) for part in self.muon_parts] for _ in range(2))
        weights = {name: weight for part in self.muon_parts for name, _, weight in part.parameters()}
        self.squares = {name: zeros(weight.value[0]) for name, weight in weights.items() if self.scale_rows}
        matrices = matrices_of(self.muon_parts, self.updates, self.squares)
        self.shares = share_out(matrices, self.ranks.size if self.ranks else 1, self.workers or self.pool.size)

    def step(self, grad_scale: float = 1.0) -> None:
        super().step(grad_scale)
        for part, b, u in zip(self.muon_parts, self.momenta, self.updates, strict=True):
            in_slices(self.pool, momentum_update, (part.grads, b, u), self.momentum, grad_scale)
        rank = self.ranks.rank if self.ranks else 0
        self.pool.map(lambda share: [orthogonalize(batch) for batch in batches(share)], self.shares[rank])
        if len(self.shares) > 1:
            clear(share for number, shares in enumerate(self.shares) if number != rank for share in shares)
            for array in (*self.updates, *self.squares.values()):
                self.ranks.all_reduce(array)
        for part, u in zip(self.muon_parts, self.updates, strict=True):
            in_slices(self.pool, add_update, (part.values, u), self.muon_lr, self.weight_decay, grad_scale)

    def _named_moments(self):
        yield from super()._named_moments()
        for part, b in zip(self.muon_parts, self.momenta, strict=True):
            yield from ((f"momentum.{name}", b[where].reshape(p.shape)) for name, where, p in part.parameters())
        yield from ((f"mean_square.{name}", v) for name, v in self.squares.items())

    def arrays(self) -> list:
        return [*super().arrays(), *self.momenta, *self.squares.values()]

    SETTINGS = (*AdamW.SETTINGS, "muon_lr", "momentum", "scale_rows")
    MADE = (*AdamW.MADE, "muon_parts", "momenta", "updates", "squares", "shares")
