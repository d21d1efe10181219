"""Reading a model one token at a time, with a KV cache.

A position's keys and values depend only on the positions before it. So they are kept, and a new token costs one
position, not a whole context: its query meets the kept keys, its weights the kept values.

That holds until the context is full. Then the window slides: the oldest token goes, and every other one moves
to the position before its own. Positions are learned vectors that are added at the bottom, so with them all
keys and values change, and the window is computed again. This is what the model was trained on, and what a full
forward over the last `block_size` tokens gives; a cache carried on beyond that point would be another model.
"""

import math

import numpy as np

from gpt.config.model_flags import GPTConfig
from gpt.model import GPT
from gpt.sampling.folded import FoldedGPT
from nanograd.device.device import bits, contiguous, fused, xp_of
from nanograd.device.elementwise import add
from nanograd.layers.attention import masked_exp, shared_matmul


class Decoder:
    """Feeds `model` with `batch_size` sequences side by side and gives the logits of what comes next.

    `tokens` counts the tokens fed so far. The model should be in evaluation mode; its weights may not change
    while the decoder is in use.
    """

    def __init__(self, model: GPT, batch_size: int = 1):
        config = model.config
        self.model, self.batch_size, self.block_size = model, batch_size, config.block_size
        self.tokens = 0
        self._window = np.zeros((batch_size, self.block_size), dtype=np.int64)  # the ids in the context
        self._length = 0  # how many they are
        if model.device.name == "numpy" and can_fold(config):
            self._extend = FoldedGPT(model, batch_size).extend
        else:
            self._extend = CachedGPT(model, batch_size).extend

    def feed(self, ids):  # (B, n) integers -> (B, V)
        """Append ids to every sequence; the logits at the last position, lent until the next call.

        Raises ValueError for ids that are not (batch_size, n >= 1) or outside the vocabulary.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != self.batch_size or not ids.size:
            raise ValueError(f"ids must be ({self.batch_size}, n) with n at least 1, not {ids.shape}")
        self.model.device.ids(ids, below=self.model.config.vocab_size)  # refuses an id outside the vocabulary
        self.tokens += ids.shape[1]
        start, stop = self._length, self._length + ids.shape[1]
        if stop > self.block_size:  # the window slides: all positions are new
            ids = np.concatenate([self._window[:, :start], ids], axis=1)[:, -self.block_size :]
            start, stop = 0, self.block_size
        self._window[:, start:stop] = ids
        self._length = stop
        return self._extend(ids, start)


def can_fold(config: GPTConfig) -> bool:
    """Are these GPT-2's blocks, which folded.py knows?"""
    plain = config.norm == "layernorm" and config.position == "learned" and config.activation != "swiglu"
    return plain and config.kv_heads == config.n_head and config.head_dim is None and config.qk_norm == "none"


class CachedGPT:
    """`model` layer by layer, on any device, with the keys and values of `batch_size` sequences."""

    def __init__(self, model: GPT, batch_size: int):
        config = model.config
        shape = (batch_size, config.kv_heads, config.block_size, config.head_channels)
        self.model = model
        self.cache = [(model.device.empty(shape), model.device.empty(shape)) for _ in model.h]  # (B, K, T, D)

    def extend(self, ids, start: int):  # (B, n) -> (B, V)
        """The logits at the last of n positions from `start`, after all before it."""
        model = self.model
        n = ids.shape[1]
        x = model.wte(model.device.asarray(ids))  # (B, n, C)
        if model.wpe is not None:
            x = plus(x, model.wpe.weight.value[start : start + n])
        for block, cache in zip(model.h, self.cache, strict=True):
            x = plus(x, attend(block.attn, block.ln_1(x), cache, start))
            if block is model.h[-1]:  # above the last attention only the last position is asked for
                x = contiguous(x[:, -1:])
            x = plus(x, block.mlp(block.ln_2(x)))
        return model.lm_head(model.ln_f(x[:, -1]))


def attend(attention, x, cache, start):  # (B, n, C), keys and values (B, K, T, D) -> (B, n, C)
    """`attention` for positions start, start + 1, …, over the cache; their own keys and values are added to it."""
    n = x.shape[1]
    q, k, v = attention.heads.split(attention.queries_keys_values(x, start))  # (B, H, n, D), (B, K, n, D) twice
    keys, values = (kept[:, :, : start + n] for kept in cache)
    bits(keys)[:, :, start:] = bits(k)
    bits(values)[:, :, start:] = bits(v)
    return attention.c_proj(cached_attention(q, keys, values, start))


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


def plus(x, y):
    """x + y; `y` may lack leading axes of `x`."""
    total = xp_of(x).empty_like(x)
    add(x, y, total)
    return total
