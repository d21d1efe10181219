"""A model rewritten for reading one token at a time on a CPU: the same function, in a third of the NumPy calls.

With one position a step, the time goes into calls, not into arithmetic. Two things can be done once, before the
first token, instead of at every one.

The residual stream is read by LayerNorms alone, and they take off its mean. So it may be kept without one: the
mean is taken off a token's vector, and off the columns of the matrices that write to the stream.

LayerNorm is followed by a product, and its scale and shift can be moved into that product. For x of mean 0:

    LN(x) W + c  =  (x / sqrt(x.x / C + eps) w + b) W + c  =  x / sqrt(x.x + C eps) A + a

    A_ij = sqrt(C) w_i W_ij              a = b W + c

So what is left of it is one number for each position. The queries' factor 1 / sqrt(D) moves into A in the same
way, and the constants of the activation into the matrices around it. This costs a second copy of the blocks'
matrices, in buffers that live with the layers: whoever samples again finds the memory there.
"""

import math

import numpy as np

from gpt.model import GPT
from nanograd.device.reductions import mean_channels
from nanograd.layers.attention import masked_exp

SAFE = 60.0  # exp(±60) is 1e26 and 9e-27, which leaves float32 room for values of 1e12 and 1e-11 to be multiplied


class NormedProduct:
    """x -> (LN(x) W + c) * factor for rows x (N, C) of mean 0, a LayerNorm, and the Linear that follows it.

    `first` says of how many columns, None for all, `factor` is that. A is written once, in its final form: what another
    thread may be reading at this moment, because it samples from the same model, is overwritten by the same numbers.
    """

    def __init__(self, norm, linear, factor: float, first: int | None = None):
        weight, C = linear.weight.value, linear.weight.shape[0]
        self.eps = norm.eps * C
        scale = norm.weight.value[:, None] * math.sqrt(C)
        self.matrix = linear.buffer("folded", like=weight)  # A
        np.multiply(weight[:, :first], scale * factor, out=self.matrix[:, :first])
        if first is not None:
            np.multiply(weight[:, first:], scale, out=self.matrix[:, first:])
        self.shift = None  # a
        if norm.bias is not None or linear.bias is not None:
            self.shift = 0 if norm.bias is None else norm.bias.value @ weight
            self.shift = self.shift + (0 if linear.bias is None else linear.bias.value)
            self.shift[:first] *= factor

    def __call__(self, x, out=None):  # (N, C) -> (N, N_out)
        y = rms_normalized(x, self.eps).dot(self.matrix, out)
        if self.shift is not None:
            y += self.shift
        return y


def rms_normalized(x, eps):  # (N, C) -> (N, C)
    """x / sqrt(x.x + eps), for each row of x."""
    if len(x) == 1:  # a number is quicker than an array of one
        return x / math.sqrt(x[0].dot(x[0]) + eps)
    return x / np.sqrt(np.vecdot(x, x) + eps)[:, None]


class CentredProduct:
    """x += scale y W + c, less its mean over the channels."""

    def __init__(self, linear, scale: float = 1.0):
        weight, bias = linear.weight.value, linear.bias
        weight = weight if scale == 1 else weight * scale
        self.matrix = linear.buffer("folded", like=weight)
        np.subtract(weight, mean_channels(weight)[:, None], out=self.matrix)
        self.shift = None if bias is None else bias.value - bias.value.mean()

    def add_to(self, x, y) -> None:  # (N, C), (N, N_in)
        x += y.dot(self.matrix)
        if self.shift is not None:
            x += self.shift


class FoldedBlock:
    """A block with room for the queries, keys and values of `batch_size` sequences."""

    def __init__(self, block, batch_size: int, block_size: int):
        H, C = block.attn.heads.n_head, block.attn.c_attn.weight.shape[0]
        self.to_qkv = NormedProduct(block.ln_1, block.attn.c_attn, 1 / math.sqrt(C // H), first=C)  # the queries
        self.attn_proj = CentredProduct(block.attn.c_proj)
        activation = block.mlp.activation
        self.to_hidden = NormedProduct(block.ln_2, block.mlp.c_fc, activation.BEFORE)
        self.activate = activation.activate
        self.mlp_proj = CentredProduct(block.mlp.c_proj, activation.AFTER)
        self.cache = np.empty((batch_size, block_size, 3 * C), dtype=self.to_qkv.matrix.dtype)
        parts = self.cache.reshape(batch_size, block_size, 3, H, C // H)
        self.q, k, self.v = parts.transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each, views of `cache`
        self.k_transposed = k.swapaxes(2, 3)  # (B, H, D, T)
        self.ones = np.ones(block_size, dtype=self.cache.dtype)

    def attend(self, x, B: int, start: int) -> None:  # (B n, C)
        """x += attn(ln_1(x)) for n positions from `start`; their keys and values are cache."""
        n = len(x) // B
        stop = start + n
        if B == 1:
            self.to_qkv(x, self.cache[0, start:stop])
        else:
            self.cache[:, start:stop] = self.to_qkv(x).reshape(B, n, -1)
        weights = self.q[:, :, start:stop] @ self.k_transposed[..., :stop]  # (B, H, n, stop)
        flat = weights.reshape(-1)
        if n == 1 and flat.dot(flat) < SAFE**2:  # then no score is beyond SAFE, and nothing is to be masked
            np.exp(weights, out=weights)
            z = (weights @ self.ones[:stop])[..., None]
        else:
            z = masked_exp(weights)
        y = weights @ self.v[:, :, :stop]  # (B, H, n, D)
        y /= z
        self.attn_proj.add_to(x, y.swapaxes(1, 2).reshape(x.shape))

    def mlp(self, x) -> None:  # (N, C)
        """x += mlp(ln_2(x))."""
        self.mlp_proj.add_to(x, self.activate(self.to_hidden(x)))


class FoldedGPT:
    """`model` for a Decoder of `batch_size` sequences. The blocks' weights are read once, when it is made."""

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
            block.mlp(x)
        x = rms_normalized(x, self.eps)
        x *= self.scale
        if self.bias is not None:
            x += self.bias
        return x.dot(self.table)
