"""Norms and products of a model that is only read, a few positions at a time, on a CPU.

With one position a step, a small model's time goes into NumPy calls, not into arithmetic. Some of the work can be done
once, before the first token. A norm is followed by a product, and its scale and shift can be folded into that
product. For RMSNorm, and for LayerNorm where x has mean 0:

    norm(x) W + c  =  (x / sqrt(x.x / C + eps) w + b) W + c  =  x / sqrt(x.x + C eps) A + a

    A_ij = sqrt(C) w_i W_ij              a = b W + c

So what is left of the norm is one number for each position. The residual stream is read by norms alone; where these
are LayerNorms, which take off its mean, it may be kept without one: the mean is taken off a token's vector, and off
the columns of the matrices that write to the stream. The queries' factor 1 / sqrt(D) moves into A in the same way, and
the constants of the activation into the matrices around it.

That costs a second copy of the blocks' matrices, in buffers that live with the layers: whoever samples again finds the
memory there. A large model's time goes into reading its weights from memory, and a second copy would be as large as
the model: there, the same is done at every token, with the weights as they are.
"""

import math

import numpy as np

from gpt.sampling.few_rows import MOST, few_rows_product
from nanograd.device.reductions import mean_channels
from nanograd.device.threads import ThreadPool
from nanograd.layers.layernorm import LayerNorm

FOLD_AT_MOST = 2**24  # bytes of the blocks' matrices: below, the copy is small and the calls are most of the time


class ReadNorm:
    """x -> its norm, for rows x (N, C); without `scaled`, the scale and shift are left to a folded product.

    `centre` says that rows have a mean that is to be taken off first; it is taken off `x` itself.
    """

    def __init__(self, norm, scaled: bool, centre: bool):
        self.centre = centre and isinstance(norm, LayerNorm)
        C = norm.weight.shape[0]
        self.eps = norm.eps * C
        self.scale = norm.weight.value * math.sqrt(C) if scaled else None
        self.bias = bias_of(norm) if scaled else None

    def __call__(self, x):  # (N, C) -> (N, C)
        if self.centre:
            x -= mean_channels(x)[:, None]
        if len(x) == 1:  # a number is quicker than an array of one
            length = math.sqrt(x[0].dot(x[0]) + self.eps)
        else:
            length = np.sqrt(np.vecdot(x, x) + self.eps)[:, None]
        y = x / length
        if self.scale is not None:
            y *= self.scale
        if self.bias is not None:
            y += self.bias
        return y


class Product:
    """x -> (x W + c) * factor, for rows x (N, C). `pool`: that of few_rows.py, for a large matrix."""

    def __init__(self, matrix, shift=None, factor: float = 1.0, pool: ThreadPool | None = None):
        self.matrix, self.shift, self.factor, self.pool = matrix, shift, factor, pool

    def __call__(self, x, out=None):  # (N, C) -> (N, N_out)
        if self.pool is not None and 1 < len(x) <= MOST:
            y = few_rows_product(x, self.matrix, self.pool, out)
        else:
            y = x.dot(self.matrix, out)
        if self.shift is not None:
            y += self.shift
        if self.factor != 1:
            y *= self.factor
        return y


def product(linear, factor: float = 1.0, pool: ThreadPool | None = None) -> Product:
    """x -> (x W + c) * factor, with the weights where they are."""
    return Product(linear.weight.value, bias_of(linear), factor, pool)


def folded_product(norm, linear, columns=((slice(None), 1.0),)) -> Product:
    """x -> (norm(x) W + c) * factor, for what ReadNorm leaves of the norm. `columns`: slices of W's, with factors.

    A is written once, in its final form: what another thread may be reading at this moment, because it samples from
    the same model, is overwritten by the same numbers.
    """
    weight, C = linear.weight.value, linear.weight.shape[0]
    scale = norm.weight.value[:, None] * math.sqrt(C)
    matrix = linear.buffer("folded", like=weight)  # A
    for part, factor in columns:
        np.multiply(weight[:, part], scale * factor, out=matrix[:, part])
    norm_bias, bias, shift = bias_of(norm), bias_of(linear), None  # a
    if norm_bias is not None or bias is not None:
        shift = 0 if norm_bias is None else norm_bias @ weight
        shift = shift + (0 if bias is None else bias)
        for part, factor in columns:
            shift[part] *= factor
    return Product(matrix, shift)


def folded_projection(linear, factor: float, centre: bool) -> Product:
    """x -> x W factor + c, with `centre` less its mean over the channels."""
    weight, bias = linear.weight.value, bias_of(linear)
    if not centre and factor == 1:
        return Product(weight, bias)
    scaled = weight if factor == 1 else weight * factor
    matrix = linear.buffer("folded", like=weight)
    np.subtract(scaled, mean_channels(scaled)[:, None] if centre else 0, out=matrix)
    return Product(matrix, bias if bias is None or not centre else bias - bias.mean())


def bias_of(layer):
    """The values of its bias, or None."""
    bias = getattr(layer, "bias", None)
    return None if bias is None else bias.value
