"""RMSNorm: give each position a mean square of one, then scale (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467).

LayerNorm without the mean and without the shift. Forward, the mean taken over the C channels of one position:

    xhat = x * rstd                      rstd = 1 / sqrt(mean(x^2) + eps)
    y    = xhat * weight

Backward. Moving x_j moves every xhat_i, because x_j is in rstd too. With [i = j] for 1 where i = j and 0 elsewhere:

    ∂rstd/∂x_j    =  -rstd^3 / 2 * 2 x_j / C  =  -rstd^2 xhat_j / C        since rstd = (mean(x^2) + eps)^(-1/2)
    ∂xhat_i/∂x_j  =  [i = j] rstd + x_i ∂rstd/∂x_j  =  rstd * ([i = j]  -  xhat_i xhat_j / C)

The chain rule: weight that by g = dy * weight, the gradient that reaches xhat, and sum over i:

    dx = rstd * (g  -  xhat * mean(g * xhat))

Normalising erased a common stretch of x, so g loses its component along that. The parameter sees every position n:

    dweight = sum_n dy * xhat
"""

import numpy as np

from nanograd.device.device import Device, fused
from nanograd.device.parameter import Parameter
from nanograd.device.reductions import dot_channels, mean_channels, sum_positions
from nanograd.layers.layer import Layer


@fused
def rms_normalize(x, weight, eps, xhat, y):  # (..., C), (C,) or None -> rstd (..., 1), xhat and y (..., C)
    """xhat, and y = xhat * weight; returns rstd. `y` may be `x`, and with weights of 1 (None) it may be `xhat`."""
    rstd = dot_channels(x, x)[..., None]
    rstd /= x.shape[-1]
    rstd += eps
    np.sqrt(rstd, out=rstd)
    np.divide(1, rstd, out=rstd)
    np.multiply(x, rstd, out=xhat)
    if weight is not None:
        np.multiply(xhat, weight, out=y)
    elif y is not xhat:
        np.copyto(y, xhat)
    return rstd


@fused
def rms_normalize_backward(dy, weight, xhat, rstd, dx, scratch, residual, dweight):
    """dx (..., C), plus `residual` unless that is None; adds to dweight (C,). `dx` may be `dy`. `weight` and `dweight`
    may be None."""
    product = np.multiply(dy, xhat, out=scratch)
    if weight is not None:
        dweight += sum_positions(product.reshape(-1, product.shape[-1]))
    along_stretch = mean_channels(product) if weight is None else product @ (weight / weight.size)  # mean(g * xhat)
    np.multiply(dy, rstd, out=dx)
    if weight is not None:
        dx *= weight
    dx -= np.multiply(xhat, along_stretch[..., None] * rstd, out=scratch)
    if residual is not None:
        dx += residual


class RMSNorm(Layer):
    """RMSNorm over the last axis, of `dim` channels; `weight` (dim,) starts at 1, or there is none."""

    def __init__(self, dim: int, weight: bool = True, *, device: Device, eps: float = 1e-5):
        self.weight = Parameter(device.full((dim,), 1)) if weight else None
        self.dim, self.eps = dim, eps

    def forward(self, x, out=None):  # (..., C) -> (..., C)
        """`out` is where the result goes, by default a buffer; it may be `x`, where the caller needs that no more."""
        self.expect_shape("x", x, (*x.shape[:-1], self.dim))
        xhat = self.buffer("xhat", like=x)
        y = self.buffer("y", like=x) if out is None else out
        weight = None if self.weight is None else self.weight.value
        self.remember(xhat, rms_normalize(x, weight, self.eps, xhat, y))
        return y

    def backward(self, dy, residual=None, out=None):  # (..., C) -> (..., C)
        """With `residual`, an array like dy: residual + dx. `out` as for forward; it may be `dy`."""
        xhat, rstd = self.recall()
        self.expect_shape("dy", dy, xhat.shape)
        if residual is not None:
            self.expect_shape("residual", residual, xhat.shape)
        dx = self.scratch("dx", like=dy) if out is None else out
        weight, dweight = (None, None) if self.weight is None else (self.weight.value, self.weight.accumulator)
        scratch = self.scratch("product", like=xhat)
        rms_normalize_backward(dy, weight, xhat, rstd, dx, scratch, residual, dweight)
        return dx
