"""A model rewritten for reading one token at a time on a CPU: the same function, in half the NumPy calls.

With one position a step, the time goes into calls, not into arithmetic. LayerNorm is followed by a product, and its
scale and shift can be moved into that product once, before the first token:

    LN(x) W + c  =  ((x - mean) rstd w + b) W + c  =  rstd ((x - mean) A) + a

    A_ij = w_i W_ij                    a = b W + c

So what is left of it is the centring and one number for each position. The queries' factor 1 / sqrt(D) moves
into A in the same way. This costs a second copy of the matrices that follow a LayerNorm.
"""

import math

import numpy as np

from gpt.model import GPT
from nanograd.attention import masked_exp


class NormedProduct:
    """x -> LN(x) W + c for a LayerNorm and the `weight` (C, N) and `bias` (N,) or None that follow it."""

    def __init__(self, norm, weight, bias=None):
        self.eps = norm.eps
        self.matrix = norm.weight.value[:, None] * weight  # A
        self.shift = bias
        if norm.bias is not None:
            self.shift = norm.bias.value @ weight + (0 if bias is None else bias)
        channels = len(weight)
        self.average = np.full(channels, 1 / channels, dtype=weight.dtype)

    def __call__(self, x):  # (N, C) -> (N, N_out)
        centred = x - (x @ self.average)[:, None]
        rstd = np.vecdot(centred, centred)
        rstd *= self.average[0]
        rstd += self.eps
        np.sqrt(rstd, out=rstd)
        y = centred @ self.matrix
        y /= rstd[:, None]
        if self.shift is not None:
            y += self.shift
        return y


class FoldedBlock:
    """A block with room for the keys and values of `batch_size` sequences."""

    def __init__(self, block, batch_size: int, block_size: int):
        qkv, self.attn_proj = block.attn.c_attn, block.attn.c_proj
        self.H, C = block.attn.heads.n_head, qkv.weight.shape[0]
        self.D = C // self.H
        self.to_qkv = NormedProduct(block.ln_1, qkv.weight.value, None if qkv.bias is None else qkv.bias.value)
        self.to_qkv.matrix[:, :C] /= math.sqrt(self.D)
        if self.to_qkv.shift is not None:
            self.to_qkv.shift = self.to_qkv.shift.copy()
            self.to_qkv.shift[:C] /= math.sqrt(self.D)
        fc = block.mlp.c_fc
        self.to_hidden = NormedProduct(block.ln_2, fc.weight.value, None if fc.bias is None else fc.bias.value)
        self.activation, self.mlp_proj = block.mlp.activation, block.mlp.c_proj
        shape = (batch_size, self.H, block_size, self.D)
        self.keys, self.values = (np.empty(shape, dtype=qkv.weight.value.dtype) for _ in range(2))

    def attend(self, x, B: int, start: int) -> None:  # (B n, C)
        """x += attn(ln_1(x)) for n positions from `start`; their keys and values are kept."""
        n = len(x) // B
        stop = start + n
        q, k, v = self.to_qkv(x).reshape(B, n, 3, self.H, self.D).transpose(2, 0, 3, 1, 4)  # (B, H, n, D) each
        self.keys[:, :, start:stop] = k
        self.values[:, :, start:stop] = v
        weights = q @ self.keys[:, :, :stop].swapaxes(2, 3)  # (B, H, n, stop)
        z = masked_exp(weights)
        y = weights @ self.values[:, :, :stop]
        y /= z
        add_product(x, y.swapaxes(1, 2).reshape(x.shape), self.attn_proj)

    def think(self, x) -> None:  # (B n, C)
        """x += mlp(ln_2(x))."""
        add_product(x, self.activation(self.to_hidden(x)), self.mlp_proj)


def add_product(x, y, linear) -> None:
    """x += y W + b."""
    x += y @ linear.weight.value
    if linear.bias is not None:
        x += linear.bias.value


class FoldedGPT:
    """`model` for a Decoder of `batch_size` sequences. It reads the weights once, when it is made."""

    def __init__(self, model: GPT, batch_size: int):
        self.tokens, self.positions = model.wte.weight.value, model.wpe.weight.value
        self.blocks = [FoldedBlock(block, batch_size, model.config.block_size) for block in model.h]
        self.head = NormedProduct(model.ln_f, model.lm_head.weight.value.T)

    def extend(self, ids, start: int):  # (B, n) -> (B, V)
        """The logits at the last of n positions from `start`, after all before it."""
        B, n = ids.shape
        x = self.tokens[ids]
        x += self.positions[start : start + n]
        x = x.reshape(B * n, -1)
        for block in self.blocks:
            block.attend(x, B, start)
            if block is self.blocks[-1] and n > 1:  # above the last attention only the last position is asked for
                x = x.reshape(B, n, -1)[:, -1].copy()
            block.think(x)
        return self.head(x)
