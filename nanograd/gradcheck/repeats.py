"""What a layer gives when it runs again on the same numbers, or on numbers that must give the same.

Like the facts of facts.py these need no reference. Each layer of a kind is taken once, with the numbers that it was
given in a model:

    every layer      leaves what it is given as it is; the gradients of two passes add up
    attention        a vector added to all keys changes no output, however large the scores become
    cross-entropy    a number added to all logits of a position changes nothing; a batch twice has the same mean; parts
                     of a batch add up to the whole; positions that are ignored might as well not be there; backward is
                     linear in dloss
    RoPE             positions that begin in the middle of a text are turned as they are in all of it
"""

from collections.abc import Iterator

import numpy as np

from nanograd.gradcheck.facts import LAMBDA, Fact, Unit, attention_bounds, attention_parts, largest_ratio
from nanograd.gradcheck.invariances import again, on_device
from nanograd.gradcheck.recording import Passes
from nanograd.layers import Attention, CrossEntropy, RoPE
from nanograd.layers.cross_entropy import IGNORED
from nanograd.layers.layer import to_host

LARGE = 1000.0  # scores and logits are moved by up to so much: the exp of it overflows in every precision
POSITIONS = 256  # of a loss, at most: each fact is a pass over all logits


def repeat_facts(found: dict[str, Passes], device, rng: np.random.Generator) -> Iterator[Fact]:
    """Of the first layer of each kind in `found`. Adds to the parameters' gradients."""
    unit, tried = Unit.of(device.precision), set()
    for where, p in found.items():
        kind = type(p.layer)
        if p.dy is None or kind in tried:
            continue
        tried.add(kind)
        yield _untouched(p, device, where)
        for name, error, bound in (*_added(p, device, unit), *MORE.get(kind, lambda *_: ())(p, device, unit, rng)):
            yield Fact(name, where, largest_ratio(error, LAMBDA * bound), int(np.size(error)))


def _dy(p: Passes):
    return None if isinstance(p.layer, CrossEntropy) else p.dy


def _untouched(p: Passes, device, where: str) -> Fact:
    arrays = [on_device(device, array) for array in p.given]
    dy = on_device(device, _dy(p))
    lent = [array for array in (*arrays, dy) if hasattr(array, "dtype")]
    before = [np.array(to_host(array)) for array in lent]
    p.layer(*arrays)
    p.layer.backward(*([] if dy is None else [dy]))
    changed = [np.not_equal(to_host(array), kept).sum() for array, kept in zip(lent, before, strict=True)]
    return Fact("what is given stays as it is", where, largest_ratio(np.array(changed, float), 0.0), len(changed))


def _added(p: Passes, device, unit: Unit):
    """The gradients that a pass adds where there are some already are those that it added where there were none."""
    if not p.grad:
        return
    other = again(p, device, p.given, _dy(p))
    n = np.sqrt(p.dy.size / p.dy.shape[-1])
    for name, grad in p.grad.items():
        size = np.abs(to_host(dict(p.layer.named_parameters())[name].grad)).astype(np.float64).max(initial=0)
        yield "gradients of two passes add up", other.grad[name] - grad, 4 * n * unit.added * size


def _keys_moved(p: Passes, device, unit: Unit, rng):
    q, k, v, *_ = attention_parts(p)
    D = q.shape[-1]
    move = rng.standard_normal((*k.shape[:2], 1, D))
    move *= LARGE * np.sqrt(D) / np.abs((q * move).sum(-1)).max(-1)[..., None, None]
    qkv = p.given[0].copy()
    p.layer.split(qkv)[1][...] += move
    longest = np.sqrt(np.square(q).sum(-1, keepdims=True)) * (np.abs(move) + np.abs(k)).max() / np.sqrt(D)
    of_scores = (unit.stored + unit.factors + np.sqrt(D) * unit.added) * (LARGE + longest)
    bound = 2 * attention_bounds(p, unit)[-1] + 4 * of_scores * np.abs(v).max((2, 3), keepdims=True)
    y = attention_parts(again(p, device, [qkv], p.dy))[6]
    yield "a vector added to all keys changes nothing", y - attention_parts(p)[6], bound


def _losses(p: Passes, device, unit: Unit, rng):
    V = p.given[0].shape[-1]
    logits, targets = p.given[0].reshape(1, -1, V)[:, :POSITIONS], np.asarray(p.given[1]).reshape(1, -1)[:, :POSITIONS]
    counted = targets >= 0
    if counted.sum() < 2 or counted.all() != counted.any():
        return
    N, half = targets.size, targets.size // 2

    def loss(logits, targets, *count, dloss=None):
        return again(p, device, [logits, targets, *count], dloss)

    one = loss(logits, targets)
    sure = (4 * unit.stored + np.sqrt(V * N) * unit.added) * max(1.0, np.abs(logits).max())
    of_d = sure / N
    twice = loss(np.concatenate([logits, logits], 1), np.concatenate([targets, targets], 1))
    yield "a batch twice has the same mean", twice.y - one.y, sure
    yield "a batch twice has the same mean", 2 * twice.dx[0][:, :N] - one.dx[0], of_d
    square = (2, half, V)
    other = loss(logits[:, : 2 * half].reshape(square), targets[:, : 2 * half].reshape(2, half))
    yield "a mean over all positions", other.y - loss(logits[:, : 2 * half], targets[:, : 2 * half]).y, sure
    parts = [loss(logits[:, part], targets[:, part], N) for part in (slice(half), slice(half, None))]
    yield "parts of a batch add up", sum(part.y for part in parts) - one.y, sure
    yield "parts of a batch add up", np.concatenate([part.dx[0] for part in parts], 1) - one.dx[0], of_d
    some = np.where(np.arange(N) % 2, IGNORED, targets)
    ignored, left = loss(logits, some), loss(logits[:, ::2], targets[:, ::2])
    yield "ignored positions do not count", ignored.y - left.y, sure
    yield "ignored positions do not count", ignored.dx[0][:, ::2] - left.dx[0], 2 * of_d
    yield "backward is linear in dloss", loss(logits, targets, dloss=3.0).dx[0] - 3 * one.dx[0], 3 * of_d
    moved = logits + LARGE * rng.uniform(-1, 1, (1, N, 1))
    largest = (unit.stored + unit.added) * (LARGE + np.abs(logits).max())
    change = loss(moved, targets)
    yield "a number added to all logits changes nothing", change.y - one.y, sure + 4 * largest
    yield "a number added to all logits changes nothing", change.dx[0] - one.dx[0], of_d + 4 * largest / N


def _middle(p: Passes, device, unit: Unit, rng):
    start = p.given[0].shape[1] // 2
    other = again(p, device, [p.given[0][:, start:], start], p.dy[:, start:])
    for part, whole in ((other.y, p.y), (other.dx[0], p.dx[0])):
        yield "a text may begin in the middle", part - whole[:, start:], 4 * unit.stored * np.abs(whole[:, start:])


MORE = {Attention: _keys_moved, CrossEntropy: _losses, RoPE: _middle}
