"""What a gradient does not depend on: the order of samples, heads and tokens, the future, and where a text begins.

Like the facts of facts.py, whose bounds they use, these need no reference. A recorded layer is run again, alone, on its
own numbers in another order; both results must be the same, but for the order, within the bounds of the sums.
"""

from collections.abc import Iterator

import numpy as np

from nanograd.gradcheck.facts import (
    LAMBDA,
    Fact,
    Unit,
    attention_bounds,
    attention_parts,
    largest_ratio,
    linear_bounds,
    loss_parts,
    positions_of,
    recorded,
)
from nanograd.gradcheck.recording import Passes
from nanograd.layers import Attention, CrossEntropy, Embedding, Linear, LMHead, RoPE
from nanograd.layers.layer import to_host


def causal_facts(found: dict[str, Passes], start: int) -> Iterator[Fact]:
    """Of passes whose targets from position `start` on do not count: no gradient may arrive there, to the last bit."""
    for where, p in found.items():
        if isinstance(p.layer, Attention | Embedding) and p.dy is not None:
            late = p.dy[:, start:] if isinstance(p.layer, Embedding) else p.dx[0][:, start:]
            yield Fact("nothing flows to later inputs", where, largest_ratio(late, 0.0), late.size)


def order_facts(found: dict[str, Passes], device, rng: np.random.Generator) -> Iterator[Fact]:
    """The order of samples, heads and tokens of a vocabulary: the first layer of each kind, run again in another."""
    unit = Unit.of(device.precision)
    tried = set()
    for where, p in found.items():
        kind = type(p.layer)
        if p.dy is None or kind in tried or kind not in ORDERS:
            continue
        tried.add(kind)
        for name, differences in ORDERS[kind](p, device, unit, rng):
            ratio = max(largest_ratio(one - other, 2 * LAMBDA * bound) for one, other, bound in differences)
            yield Fact(name, where, ratio, sum(one.size for one, _, _ in differences))


def again(p: Passes, device, given: list, dy) -> Passes:
    """The layer of `p` alone, on other numbers. Its parameters' gradients are added to."""
    with recorded(p.layer) as found:
        p.layer(*(on_device(device, array) for array in given))
        p.layer.backward(*([] if dy is None else [on_device(device, dy)]))
    return found[type(p.layer).__name__]


def on_device(device, array):
    """What was recorded, as the device has it; what is no array as it is."""
    if not hasattr(array, "dtype"):
        return array
    host = np.asarray(array)
    return device.asarray(host if host.dtype.kind in "iu" else host.astype(device.dtype))


def _samples(p: Passes, device, unit: Unit, rng):
    order = rng.permutation(len(p.given[0]))
    other = again(p, device, [p.given[0][order]], p.dy[order])
    of_y, of_dx, of_dW = linear_bounds(p, unit)
    yield (
        "samples in any order",
        [
            (other.y, p.y[order], of_y.reshape(p.y.shape)[order]),
            (other.dx[0], p.dx[0][order], of_dx.reshape(p.dx[0].shape)[order]),
            (other.grad["weight"], p.grad["weight"], of_dW),
        ],
    )


def _heads(p: Passes, device, unit: Unit, rng):
    K, D = p.layer.n_kv_head, attention_parts(p)[1].shape[-1]
    group = p.layer.n_head // K
    keys = np.roll(np.arange(K), 1)  # each in another's place
    queries = (keys[:, None] * group + np.arange(group)).ravel()

    def reordered(array):  # (B, T, n D): queries, and in qkv keys and values after them
        heads = array.reshape(*array.shape[:2], -1, D)
        order = queries
        if heads.shape[2] > len(queries):
            order = np.concatenate([queries, len(queries) + keys, len(queries) + K + keys])
        return heads[:, :, order].reshape(array.shape)

    other = again(p, device, [reordered(p.given[0])], reordered(p.dy))
    theirs = attention_parts(other)
    ours = [part[:, keys] for part in attention_parts(p)]
    _, *bounds = attention_bounds(p, unit)  # of dq, dk, dv, y
    pairs = zip(theirs[3:7], ours[3:7], bounds, strict=True)
    yield (
        "heads in any order",
        [(one, mine, np.broadcast_to(bound, mine.shape)[:, keys]) for one, mine, bound in pairs],
    )


def _tokens(p: Passes, device, unit: Unit, rng):
    logits, targets = p.given[0], np.asarray(p.given[1])
    order = rng.permutation(logits.shape[-1])
    where = np.argsort(order)  # the new id of each token
    moved = np.where(targets < 0, targets, where[targets])
    other = again(p, device, [logits[..., order], moved.astype(targets.dtype)], None)
    ours, off = loss_parts(p, unit)
    scale = positions_of(p) / positions_of(other)  # `again` is a mean over its own positions
    bound = off + np.sqrt(logits.shape[-1]) * unit.added * np.abs(off) / (unit.stored + unit.added)
    theirs = other.dx[0].reshape(ours.shape)
    yield "tokens of the vocabulary in any order", [(theirs, ours[:, order] * scale, bound[:, order] * scale)]


def distance_fact(rope: RoPE, device, rng: np.random.Generator, T: int, where: str) -> Fact:
    """Scores of rotated queries and keys are the same wherever the text begins."""
    D, unit = rope.dim, Unit.of(device.precision)
    x = rng.standard_normal((1, T, 2, D)).astype(np.float32)

    def scores(start: int):
        y = to_host(rope.forward(on_device(device, x), start)).astype(np.float64)
        q, k = y[0, :, 0], y[0, :, 1]
        return q @ k.T

    sizes = np.sqrt(np.square(x[0, :, 0]).sum(-1)[:, None] * np.square(x[0, :, 1]).sum(-1))
    bound = 4 * (unit.stored + 2 * T * 2.0**-53) * sizes  # of the tables, and of angles up to 2 T
    return Fact("scores depend on distances", where, largest_ratio(scores(0) - scores(T), LAMBDA * bound), T * T)


ORDERS = {Linear: _samples, LMHead: _samples, Attention: _heads, CrossEntropy: _tokens}
