"""A model rewritten for reading one token at a time on a CPU: the same function, in a third of the NumPy calls.

With one position a step, the time goes into calls, not into arithmetic. Two things can be done once, before the
first token, instead of at every one.

The residual stream is read by LayerNorms alone, and they take off its mean. So it may be kept without one: the
mean is taken off a token's vector, and off the columns of the matrices that write to the stream.

LayerNorm is followed by a product, and its scale and shift can be moved into that product. For x of mean 0:

    LN(x) W + c  =  (x / sqrt(x.x / C + eps) w + b) W + c  =  x / sqrt(x.x + C eps) A + a

    A_ij = sqrt(C) w_i W_ij              a = b W + c

So what is left of it is one number for each position. The queries' factor 1 / sqrt(D) moves into A in the same
way. This costs a second copy of the blocks' matrices, in buffers that live with the layers: whoever samples
again finds the memory there.
"""

import math

import numpy as np

from gpt.model import GPT
from nanograd.attention import masked_exp

SAFE = 80.0  # exp(±80) is 6e34 and 2e-35: scores within it need no shift, where no gradient will be multiplied


class NormedProduct:
    """x -> LN(x) W + c for rows x (N, C) of mean 0, a LayerNorm, and the Linear that follows it."""

    def __init__(self, norm, linear):
        weight, C = linear.weight.value, linear.weight.shape[0]
        self.eps = norm.eps * C
        scale = (norm.weight.value * math.sqrt(C))[:, None]
        self.matrix = np.multiply(scale, weight, out=linear.buffer("folded", like=weight))  # A
        self.shift = None if linear.bias is None else linear.bias.value.copy()  # a
        if norm.bias is not None:
            self.shift = norm.bias.value @ weight + (0 if linear.bias is None else linear.bias.value)

    def __call__(self, x):  # (N, C) -> (N, N_out)
        y = shortened(x, self.eps).dot(self.matrix)
        if self.shift is not None:
            y += self.shift
        return y


def shortened(x, eps):  # (N, C) -> (N, C)
    """x / sqrt(x.x + eps), for each row of x."""
    if len(x) == 1:  # a number is quicker than an array of one
        return x / math.sqrt(x[0].dot(x[0]) + eps)
    return x / np.sqrt(np.vecdot(x, x) + eps)[:, None]


class CentredProduct:
    """x += y W + c, less its mean over the channels."""

    def __init__(self, linear):
        weight, bias = linear.weight.value, linear.bias
        average = np.full(weight.shape[1], 1 / weight.shape[1], dtype=weight.dtype)
        self.matrix = np.subtract(weight, (weight @ average)[:, None], out=linear.buffer("folded", like=weight))
        self.shift = None if bias is None else bias.value - bias.value.mean()

    def add_to(self, x, y) -> None:  # (N, C), (N, N_in)
        x += y.dot(self.matrix)
        if self.shift is not None:
            x += self.shift


class FoldedBlock:
    """A block with room for the queries, keys and values of `batch_size` sequences."""

    def __init__(self, block, batch_size: int, block_size: int):
        H, C = block.attn.heads.n_head, block.attn.c_attn.weight.shape[0]
        self.to_qkv = NormedProduct(block.ln_1, block.attn.c_attn)
        for array in (self.to_qkv.matrix, self.to_qkv.shift):
            if array is not None:
                array[..., :C] /= math.sqrt(C // H)
        self.attn_proj = CentredProduct(block.attn.c_proj)
        self.to_hidden = NormedProduct(block.ln_2, block.mlp.c_fc)
        self.bend = block.mlp.activation.bend
        self.mlp_proj = CentredProduct(block.mlp.c_proj)
        self.kept = np.empty((batch_size, block_size, 3 * C), dtype=self.to_qkv.matrix.dtype)
        parts = self.kept.reshape(batch_size, block_size, 3, H, C // H)
        self.q, self.k, self.v = parts.transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each, views of `kept`
        self.ones = np.ones(block_size, dtype=self.kept.dtype)

    def attend(self, x, B: int, start: int) -> None:  # (B n, C)
        """x += attn(ln_1(x)) for n positions from `start`; their keys and values are kept."""
        n = len(x) // B
        stop = start + n
        qkv = self.to_qkv(x)
        self.kept[:, start:stop] = qkv if B == 1 else qkv.reshape(B, n, -1)
        weights = self.q[:, :, start:stop] @ self.k[:, :, :stop].swapaxes(2, 3)  # (B, H, n, stop)
        flat = weights.reshape(-1)
        if n == 1 and flat.dot(flat) < SAFE**2:  # then no score is beyond SAFE, and nothing is to be masked
            np.exp(weights, out=weights)
            z = (weights @ self.ones[:stop])[..., None]
        else:
            z = masked_exp(weights)
        y = weights @ self.v[:, :, :stop]  # (B, H, n, D)
        y /= z
        self.attn_proj.add_to(x, y.swapaxes(1, 2).reshape(x.shape))

    def think(self, x) -> None:  # (N, C)
        """x += mlp(ln_2(x))."""
        self.mlp_proj.add_to(x, self.bend(self.to_hidden(x)))


class FoldedGPT:
    """`model` for a Decoder of `batch_size` sequences. It reads the weights once, when it is made."""

    def __init__(self, model: GPT, batch_size: int):
        self.tokens, self.positions = model.wte.weight.value, model.wpe.weight.value
        self.blocks = [FoldedBlock(block, batch_size, model.config.block_size) for block in model.h]
        C = model.config.n_embd
        self.average = np.full(C, 1 / C, dtype=self.tokens.dtype)
        self.eps, self.scale = model.ln_f.eps * C, model.ln_f.weight.value * math.sqrt(C)
        self.bias = None if model.ln_f.bias is None else model.ln_f.bias.value
        self.table = model.lm_head.weight.value.T

    def extend(self, ids, start: int):  # (B, n) -> (B, V)
        """The logits at the last of n positions from `start`, after all before it."""
        B, n = ids.shape
        x = self.tokens[ids]
        x += self.positions[start : start + n]
        x = x.reshape(B * n, -1)
        x -= (x @ self.average)[:, None]
        for block in self.blocks:
            block.attend(x, B, start)
            if block is self.blocks[-1] and n > 1:  # above the last attention only the last position is asked for
                x = x.reshape(B, n, -1)[:, -1].copy()
            block.think(x)
        x = shortened(x, self.eps)
        x *= self.scale
        if self.bias is not None:
            x += self.bias
        return x.dot(self.table)
