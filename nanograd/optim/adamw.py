"""AdamW, and clipping by the global norm.

AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101), at step t = 1, 2, … for gradient g:

    m = beta1 m + (1 - beta1) g              the mean of recent gradients
    v = beta2 v + (1 - beta2) g^2            the mean of their squares
    p = p - lr weight_decay p                decay, apart from the gradient ("decoupled"); matrices only
    p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

m and v start at 0 and so are too small at first; dividing by 1 - beta^t, the weight they have seen so far,
corrects that.

Clipping treats the gradients of all parameters as one vector. Where its norm exceeds the limit it is scaled
down to it, so that its direction is kept.
"""

import functools
import math
import operator
from collections.abc import Callable, Collection

import numpy as np

from nanograd.device.blas import axpby
from nanograd.device.device import fused, xp_of
from nanograd.device.threads import SERIAL, WORTH_A_THREAD, ThreadPool
from nanograd.layers.layer import Layer, arrays_of, check_names, check_tensor, compare_names, to_host
from nanograd.optim.arena import arenas_of, parts_of

PASSES = 8  # of an update over its arrays
CHUNK = 2**18  # elements updated at a time: few enough for the L3 cache, enough for few waits for Python's lock


@fused
def adamw_update(p, g, m, v, lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale):
    """One step on flat arrays (n,), in place; g * grad_scale is the gradient. corrections: 1 - beta^t."""
    work = np.empty_like(p[:CHUNK])
    for start in range(0, len(p), CHUNK):
        parts = (array[start : start + CHUNK] for array in (p, g, m, v))
        _update_chunk(*parts, work, lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale)


def _update_chunk(p, g, m, v, work, lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale):
    axpby((1 - beta1) * grad_scale, g, beta1, m)
    work = np.multiply(g, math.sqrt(1 - beta2) * grad_scale, out=work[: len(p)])  # scaled before it is squared
    work *= work
    axpby(1, work, beta2, v)
    np.sqrt(v, out=work)
    root = math.sqrt(correction2)  # m / (sqrt(v) / root + eps) = root m / (sqrt(v) + eps root), a pass less
    work += eps * root
    np.divide(m, work, out=work)
    axpby(-lr * root / correction1, work, 1 - lr * decay, p)


@fused
def square_sum(g):  # (n,) -> float, or () on a GPU
    """The sum of squares, added up in float64 over pieces."""
    return math.fsum(_squares_of_chunks(g))


def _squares_of_chunks(g):
    chunks = (g[start : start + CHUNK] for start in range(0, len(g), CHUNK))
    return [float(np.vdot(chunk, chunk)) for chunk in chunks]


def grad_norm(model: Layer, pool: ThreadPool = SERIAL):
    """The Euclidean norm of all gradients of `model` together: a float, or a scalar on the device.

    On the CPU it is the same to the last bit for every size of `pool`: the chunks are, and so is their exact sum.
    """
    flat = [arena.grads for arena in arenas_of(model)]
    if not isinstance(flat[0], np.ndarray):
        total = functools.reduce(operator.add, map(square_sum, flat))
        return xp_of(total).sqrt(total)
    least = WORTH_A_THREAD // CHUNK
    parts = [
        grads[part.start * CHUNK : part.stop * CHUNK]
        for grads in flat
        for part in pool.slices(-(-grads.size // CHUNK), least)
    ]
    return math.sqrt(math.fsum(square for squares in pool.map(_squares_of_chunks, parts) for square in squares))


def zeros(like):
    """Zeros of the shape and dtype of `like`, whose memory is taken only when it is written to; `zeros_like` writes."""
    return xp_of(like).zeros(like.shape, dtype=like.dtype)


def clip_scale(norm, max_norm: float):
    """The factor, at most 1, that brings gradients of `norm` down to `max_norm`; as torch.nn.utils has it."""
    scale = max_norm / (norm + 1e-6)
    return min(1.0, scale) if isinstance(norm, float) else xp_of(norm).minimum(1.0, scale)


def clip_grad_norm(model: Layer, max_norm: float, pool: ThreadPool = SERIAL):
    """Scale all gradients of `model` so that their global norm is at most `max_norm`; returns the norm before.

    An infinite `max_norm` changes nothing. Raises TypeError for anything but a model, ValueError for a model without
    parameters and for a `max_norm` that is not above 0.
    """
    check_model(model, "clip_grad_norm(model, 1.0)")
    if max_norm != math.inf:
        check_range("max_norm", max_norm, lambda value: value > 0, "above 0")
    norm = grad_norm(model, pool)
    scale = clip_scale(norm, max_norm)
    if not isinstance(scale, float) or scale < 1:
        for arena in arenas_of(model):
            arena.grads[...] *= scale
    return norm


def check_model(model, call: str) -> None:
    """Raise TypeError, with the `call` that is right, for parameters where the model is meant; ValueError for a model
    that has none."""
    if not isinstance(model, Layer):
        kind = type(model).__name__
        raise TypeError(f"the model itself is wanted, not its parameters (this is a {kind}): {call}")
    if next(model.parameters(), None) is None:
        raise ValueError(f"{type(model).__name__} has no parameters")


def check_range(name: str, value: float, fine: Callable[[float], bool], allowed: str) -> None:
    """Raise ValueError, naming the range, unless `value` is a finite number and `fine`."""
    try:
        good = fine(value) and math.isfinite(value)
    except TypeError:  # not a number
        good = False
    if not good:
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def not_negative(value: float) -> bool:
    return value >= 0


def below_one(value: float) -> bool:
    return 0 <= value < 1


def in_slices(pool: ThreadPool, update, arrays: tuple, *settings) -> None:
    """update(*arrays, *settings) for flat arrays of one length, in slices that the threads of `pool` share."""
    slices = pool.slices(arrays[0].size, WORTH_A_THREAD // PASSES)
    pool.map(lambda where: update(*(array[where] for array in arrays), *settings), slices)


class AdamW:
    """AdamW over the flat arenas of `model`. Matrices decay by `weight_decay`, vectors do not.

    `lr` may be changed between steps. A `pool` of threads shares the work by slices of the arenas. Raises ValueError
    for a setting out of its range, TypeError for anything but a model. `names`: which parameters, by default all.
    """

    def __init__(
        self,
        model: Layer,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        pool: ThreadPool = SERIAL,
        names: Collection[str] | None = None,
    ):
        check_model(model, f"{type(self).__name__}(model, lr=...)")
        check_range("lr", lr, not_negative, "at least 0")
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, beta1 and beta2, not {betas!r}") from None
        check_range("beta1", beta1, below_one, "at least 0 and below 1")
        check_range("beta2", beta2, below_one, "at least 0 and below 1")
        check_range("eps", eps, lambda value: value > 0, "above 0")
        check_range("weight_decay", weight_decay, not_negative, "at least 0")
        self.lr, self.betas, self.eps, self.weight_decay, self.pool = lr, betas, eps, weight_decay, pool
        self.model = model
        self.names = {name for name, _ in model.named_parameters()} if names is None else names
        self.steps = 0
        self._make_moments()

    def _make_moments(self) -> None:
        self.parts = parts_of(self.model, self.names)
        self.exp_avg, self.exp_avg_sq = ([zeros(part.values) for part in self.parts] for _ in range(2))

    def step(self, grad_scale: float = 1.0) -> None:
        """Update every parameter from its gradient times `grad_scale` (where clipping can be folded in)."""
        self.steps += 1
        beta1, beta2 = self.betas
        for part, m, v in zip(self.parts, self.exp_avg, self.exp_avg_sq, strict=True):
            settings = (
                *(self.lr, beta1, beta2, self.eps, self.weight_decay if part.arena.decay else 0.0),
                *(1 - beta1**self.steps, 1 - beta2**self.steps, grad_scale),
            )
            in_slices(self.pool, adamw_update, (part.values, part.grads, m, v), *settings)

    def zero_grad(self) -> None:
        self.model.zero_grad()

    def _named_moments(self):
        for part, m, v in zip(self.parts, self.exp_avg, self.exp_avg_sq, strict=True):
            for name, where, parameter in part.parameters():
                yield f"exp_avg.{name}", m[where].reshape(parameter.shape)
                yield f"exp_avg_sq.{name}", v[where].reshape(parameter.shape)

    def arrays(self) -> list:
        """All that `step` remembers, but for the number of steps: to be shared with other processes."""
        return [*self.exp_avg, *self.exp_avg_sq]

    def state_dict(self, copy: bool = True) -> dict:
        """{"step": int, "exp_avg.NAME": array, "exp_avg_sq.NAME": array} on the host; `copy` as for a layer's."""
        return {"step": self.steps} | {name: to_host(moment, copy) for name, moment in self._named_moments()}

    def load_state_dict(self, state: dict) -> None:
        """The reverse; torch tensors are taken too. Raises ValueError, and nothing is changed then, naming all tensors
        that are missing or unexpected, or the first that does not fit."""
        own = dict(self._named_moments())
        state = arrays_of(state)
        check_names("optimizer tensors", compare_names(("step", *own), state))
        for name, moment in own.items():
            check_tensor(name, state[name], moment.shape)
        steps = np.asarray(state["step"])
        if steps.ndim or steps.dtype.kind not in "iu" or steps < 0:
            raise ValueError("the step of the optimizer is no number of steps")
        for name, moment in own.items():
            moment[...] = xp_of(moment).asarray(state[name], dtype=moment.dtype)
        self.steps = int(steps)

    SETTINGS = "lr", "betas", "eps", "weight_decay"

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.SETTINGS)
        return f"{type(self).__name__}({type(self.model).__name__}, {settings}, steps={self.steps})"

    MADE = "parts", "exp_avg", "exp_avg_sq", "pool"  # made again, or filled from state_dict()

    def __getstate__(self) -> dict:  # for pickle and copies: the moments by name, as arenas belong to one model alone
        kept = {name: value for name, value in vars(self).items() if name not in self.MADE}
        return kept | {"moments": self.state_dict()}

    def __setstate__(self, state: dict) -> None:
        moments = state.pop("moments")
        vars(self).update(state | {"pool": SERIAL})
        self._make_moments()
        self.load_state_dict(moments)
