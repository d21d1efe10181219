"""A model layer by layer, with a KV cache, on any device: what runs on a GPU, and what ReadGPT is held against.

Where the window has slid, every position of a prompt has a window of its own, and its attention is a launch of its own.
The products are those of the whole prompt.
"""

import math

import numpy as np

from gpt.model import GPT
from nanograd.device.device import bits, contiguous, fused, xp_of
from nanograd.device.elementwise import add
from nanograd.layers.attention import masked_exp, shared_matmul
from nanograd.layers.embedding import gather_rows


class CachedGPT:
    """`model` for a Decoder of `batch_size` sequences, with `slots` places for the keys and values of each."""

    def __init__(self, model: GPT, batch_size: int, slots: int):
        config = model.config
        shape = (batch_size, config.kv_heads, slots, config.head_channels)
        self.model = model
        self.cache = [(model.device.empty(shape), model.device.empty(shape)) for _ in model.h]  # (B, K, slots, D)

    def step(self, ids, slot: int, position: int, first):  # (B,), (B,) -> (B, V)
        """As ReadGPT's."""
        return self._extend(ids[:, None], slice(None), slot, position, position - first, first)

    def read(self, ids, rows: slice, slot: int, position: int, first: int):  # (R, n) -> (R, V)
        """As ReadGPT's."""
        positions = np.full(len(ids), position)
        return self._extend(ids, rows, slot, position, positions, np.full(len(ids), first))

    def _extend(self, ids, rows, slot, position, positions, first):
        model, n = self.model, ids.shape[1]
        x = model.wte(model.device.asarray(ids), checked=True)  # (R, n, C)
        if model.wpe is not None:
            places = model.device.asarray(positions[:, None] + np.arange(n))  # (R, n)
            vectors = xp_of(x).empty_like(x)
            gather_rows(model.wpe.weight.value, places, vectors)
            x = plus(x, vectors)
        for block, cache in zip(model.h, self.cache, strict=True):
            keys, values = (part[rows] for part in cache)
            x = plus(x, attend(block.attn, block.ln_1(x), keys, values, slot, position, first, model.config.block_size))
            if block is model.h[-1]:  # above the last attention only the last position is asked for
                x = contiguous(x[:, -1:])
            x = plus(x, block.mlp(block.ln_2(x)))
        return copied(model.lm_head(model.ln_f(x[:, -1])))

    def drop(self, n: int, end: int) -> None:
        """As ReadGPT's."""
        for part in (part for cache in self.cache for part in cache):
            bits(part)[:, :, : end - n] = bits(part)[:, :, n:end].copy()

    def copy(self, source: int, target: int, end: int) -> None:
        """As ReadGPT's."""
        for part in (part for cache in self.cache for part in cache):
            bits(part)[target, :, :end] = bits(part)[source, :, :end]


def attend(attention, x, keys, values, slot, position, first, window):  # (R, n, C), twice (R, K, slots, D) -> (R, n, C)
    """`attention` for positions in slots slot, slot + 1, …; their own keys and values are added to the cache."""
    n = x.shape[1]
    q, k, v = attention.heads.split(attention.queries_keys_values(x, position))  # (R, H, n, D), (R, K, n, D) twice
    bits(keys)[:, :, slot : slot + n] = bits(k)
    bits(values)[:, :, slot : slot + n] = bits(v)
    groups = [slice(None)] if first.min() == first.max() else [slice(row, row + 1) for row in range(len(first))]
    parts = [attend_rows(q[g], keys[g], values[g], slot, int(first[g][0]), window) for g in groups]
    return attention.c_proj(parts[0] if len(parts) == 1 else joined(parts, 0))


def attend_rows(q, keys, values, slot, first, window):  # (R, H, n, D), twice (R, K, slots, D) -> (R, n, H D)
    """Sequences that all begin in slot `first`."""
    n = q.shape[2]
    together = min(n, max(1, first + window - slot))  # positions whose windows reach back to `first`, or the first one
    parts, starts = [], [0, *range(together, n)]
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        lowest = max(first, slot + start - window + 1)
        seen = slice(lowest, slot + stop)
        parts.append(cached_attention(q[:, :, start:stop], keys[:, :, seen], values[:, :, seen], slot + start - lowest))
    return parts[0] if len(parts) == 1 else joined(parts, 1)


@fused
def cached_attention(q, keys, values, start):  # (B, H, n, D), twice (B, K, start + n, D) -> (B, n, H D)
    """What queries at positions start, start + 1, … gather from all keys and values up to their own."""
    B, H, n, D = q.shape
    weights = np.empty((B, H, n, keys.shape[2]), dtype=q.dtype)
    shared_matmul(q * (1 / math.sqrt(D)), keys.swapaxes(2, 3), weights)
    z = masked_exp(weights)
    y = np.empty((B, H, n, D), dtype=q.dtype)
    shared_matmul(weights, values, y)
    y /= z
    return y.swapaxes(1, 2).reshape(B, n, H * D)


def joined(parts, axis):
    """The arrays one after the other along an axis."""
    return xp_of(parts[0]).concatenate([bits(part) for part in parts], axis).view(parts[0].dtype)


def copied(x):
    """A copy: what a layer returns is its own until it is asked again."""
    return bits(x).copy().view(x.dtype)


def plus(x, y):
    """x + y; `y` may lack leading axes of `x`."""
    total = xp_of(x).empty_like(x)
    add(x, y, total)
    return total
