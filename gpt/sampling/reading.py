"""A model that is only read, on a CPU: the same function as `GPT`, without what training needs.

A prompt is read many positions at a time, and one row of logits is computed at its end; after that each step reads one
position of every sequence. folded.py says what is prepared beforehand, cached_attention.py where keys and values are.
"""

import math

import numpy as np

from gpt.model import GPT
from gpt.sampling.cached_attention import CachedAttention
from gpt.sampling.few_rows import pool_for_few_rows
from gpt.sampling.folded import FOLD_AT_MOST, Product, ReadNorm, folded_product, folded_projection, product
from nanograd.device.reductions import mean_channels
from nanograd.device.threads import ThreadPool
from nanograd.layers.layernorm import LayerNorm


def linears(block) -> list:
    """The layers of a block that have a matrix."""
    attn, mlp = block.attn, block.mlp
    return [attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj, *([mlp.c_gate] if hasattr(mlp, "c_gate") else [])]


class ReadBlock:
    """A block, with its cache. With `fold`, its matrices are prepared copies; without, `pool` is for their products."""

    def __init__(self, block, batch_size: int, slots: int, window: int, fold: bool, pool: ThreadPool | None = None):
        attn, mlp = block.attn, block.mlp
        H, K = attn.heads.n_head, attn.heads.n_kv_head
        self.norm_1, self.norm_2 = (ReadNorm(n, scaled=not fold, centre=not fold) for n in (block.ln_1, block.ln_2))
        gated = hasattr(mlp, "c_gate")
        before, after = (1.0, 1.0) if gated else (mlp.activation.BEFORE, mlp.activation.AFTER)
        self.activate = None if gated else mlp.activation.activate
        scaled = False
        if fold:
            width = attn.c_attn.weight.shape[1] // (H + 2 * K) * H
            scaled = attn.q_norm is None
            scale = 1 / math.sqrt(width // H) if scaled else 1.0
            columns = (slice(0, width), scale), (slice(width, None), 1.0)
            to_qkv = folded_product(block.ln_1, attn.c_attn, columns)
            centre = isinstance(block.ln_1, LayerNorm)
            self.attn_proj = folded_projection(attn.c_proj, 1.0, centre)
            self.to_hidden = folded_product(block.ln_2, mlp.c_fc, ((slice(None), before),))
            self.to_gate = folded_product(block.ln_2, mlp.c_gate, ((slice(None), 0.5),)) if gated else None
            self.mlp_proj = folded_projection(mlp.c_proj, after, centre)
        else:
            to_qkv, self.attn_proj = product(attn.c_attn, pool=pool), product(attn.c_proj, pool=pool)
            self.to_hidden = product(mlp.c_fc, before, pool)
            self.to_gate = product(mlp.c_gate, 0.5, pool) if gated else None
            self.mlp_proj = product(mlp.c_proj, pool=pool)
        self.after = 1.0 if fold else after
        self.attention = CachedAttention(attn, to_qkv, batch_size, slots, window, scaled)

    def mlp(self, x) -> None:  # (N, C)
        """x += mlp(ln_2(x))."""
        h = self.norm_2(x)
        hidden = self.to_hidden(h)
        if self.to_gate is None:
            hidden = self.activate(hidden)
        else:  # silu(g) = (g / 2) (1 + tanh(g / 2))
            half = self.to_gate(h)
            hidden *= half
            np.tanh(half, out=half)
            half += 1
            hidden *= half
        if self.after != 1:
            hidden *= self.after
        x += self.mlp_proj(hidden)


class ReadGPT:
    """`model` for a Decoder of `batch_size` sequences. Its weights may not change from then on."""

    def __init__(self, model: GPT, batch_size: int, slots: int):
        self.fold = len(model.h) * sum(linear.weight.value.nbytes for linear in linears(model.h[0])) <= FOLD_AT_MOST
        self.tokens, self.positions = model.wte.weight.value, model.wpe.weight.value if model.wpe else None
        window = model.config.block_size
        pool = pool_for_few_rows() if batch_size > 1 and not self.fold else None
        self.blocks = [ReadBlock(block, batch_size, slots, window, self.fold, pool) for block in model.h]
        self.centre = self.fold and isinstance(model.ln_f, LayerNorm)
        self.norm = ReadNorm(model.ln_f, scaled=True, centre=not self.fold)
        self.head = Product(model.lm_head.weight.value.T, pool=pool)

    def embed(self, ids, positions):  # (N,), a slice or (N,) -> (N, C)
        x = self.tokens[ids]
        if self.positions is not None:
            x += self.positions[positions]
        if self.centre:
            x -= mean_channels(x)[:, None]
        return x

    def step(self, ids, slot: int, position: int, first):  # (B,) integers, (B,) -> (B, V)
        """The logits after one more token of each sequence, in `slot`; `first` are their first slots in use."""
        lowest = max(0, slot - self.blocks[0].attention.window + 1)
        mask = None
        if first.any():
            position = position - first if self.positions is not None else position
            hidden = np.arange(lowest, slot + 1) < first[:, None]
            mask = np.where(hidden, -np.inf, 0).astype(self.tokens.dtype)[:, None, None]  # (B, 1, 1, S)
        x = self.embed(ids, position)
        for block in self.blocks:
            attention = block.attention
            x += block.attn_proj(attention.step(block.norm_1(x), slot, position, lowest, mask))
            block.mlp(x)
        return self.head(self.norm(x))

    def read(self, ids, rows: slice, slot: int, position: int, first: int):  # (R, n) -> (R, V)
        """The logits after n tokens of the sequences `rows`, from `slot` on; the first is at `position`."""
        R, n = ids.shape
        positions = slice(position, position + n)
        x = self.embed(ids.reshape(-1), positions if R == 1 else np.tile(np.arange(position, position + n), R))
        for block in self.blocks:
            last = block is self.blocks[-1]  # there, the last position is all that is asked for
            y = block.attention.read(block.norm_1(x), rows, slot, position, first, last)
            if last:
                x = x.reshape(R, n, -1)[:, -1].copy()
            x += block.attn_proj(y)
            block.mlp(x)
        return self.head(self.norm(x))

    def drop(self, n: int, end: int) -> None:
        """Forget the first n of `end` slots: the others move to the front."""
        for block in self.blocks:
            cache = block.attention.cache
            cache[..., : end - n, :] = cache[..., n:end, :].copy()

    def copy(self, source: int, target: int, end: int) -> None:
        """Give sequence `target` the keys and values of `source`."""
        for block in self.blocks:
            block.attention.cache[:, target, :, :end] = block.attention.cache[:, source, :, :end]
