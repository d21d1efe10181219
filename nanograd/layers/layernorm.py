"""LayerNorm: give each position zero mean and unit variance, then scale and shift (https://arxiv.org/abs/1607.06450).

Forward, every mean taken over the C channels of one position:

    xhat = (x - mean(x)) * rstd          rstd = 1 / sqrt(var(x) + eps)
    y    = xhat * weight + bias

Backward. Moving x_j moves every xhat_i, because x_j is in the mean and in rstd too. With xc = x - mean(x), and [i = j]
for 1 where i = j and 0 elsewhere, one factor at a time:

    ∂xc_i/∂x_j  = [i = j] - 1/C                                       x_j is a C-th of the mean
    ∂var/∂x_j   = (2/C) sum_i xc_i ([i = j] - 1/C) = 2 xc_j / C       since var = mean(xc^2), and sum_i xc_i = 0
    ∂rstd/∂x_j  = -rstd^3 / 2 * ∂var/∂x_j = -rstd^2 xhat_j / C        since rstd = (var + eps)^(-1/2)

and by the product rule for xhat_i = xc_i rstd, in which xc_i rstd is xhat_i again:

    ∂xhat_i/∂x_j  =  rstd ∂xc_i/∂x_j + xc_i ∂rstd/∂x_j  =  rstd * ([i = j]  -  1/C  -  xhat_i xhat_j / C)

The chain rule: weight that by g = dy * weight, the gradient that reaches xhat, and sum over i. [i = j] leaves g_j, 1/C
makes a mean of g, and xhat_j stands before a mean of g * xhat:

    dx = rstd * (g  -  mean(g)  -  xhat * mean(g * xhat))

Normalising erased a common shift and a common stretch of x, so g loses its components along those two.
The parameters see every position n:

    dweight = sum_n dy * xhat            dbias = sum_n dy
"""

import numpy as np

from nanograd.device.device import Device, fused
from nanograd.device.parameter import Parameter
from nanograd.device.reductions import add_positions, add_rows, dot_channels, mean_channels, scale_rows, sum_positions
from nanograd.layers.layer import Layer


@fused
def normalize(x, weight, bias, eps, xhat, y):  # (N, C), (C,), (C,) or None -> rstd (N, 1), xhat and y (N, C)
    """xhat, and y = xhat * weight + bias; returns rstd."""
    np.subtract(x, mean_channels(x)[:, None], out=xhat)
    rstd = dot_channels(xhat, xhat)[:, None]
    rstd /= x.shape[-1]
    rstd += eps
    np.sqrt(rstd, out=rstd)
    np.divide(1, rstd, out=rstd)
    xhat *= rstd
    scale_rows(xhat, weight, y)
    if bias is not None:
        add_rows(y, bias)
    return rstd


@fused
def normalize_backward(dy, weight, xhat, rstd, dx, scratch, residual, dweight, dbias):
    """dx (N, C), plus `residual` unless that is None; adds to dweight (C,), and to dbias (C,) unless that is None."""
    weight_mean = weight / weight.size
    product = np.multiply(dy, xhat, out=scratch)
    dweight += sum_positions(product)
    if dbias is not None:
        add_positions(dy, dbias)
    along_shift = (dy @ weight_mean)[:, None]  # mean(g)
    along_stretch = (product @ weight_mean)[:, None]  # mean(g * xhat)
    scale_rows(dy, weight, dx)
    dx -= along_shift
    dx -= np.multiply(xhat, along_stretch, out=scratch)
    dx *= rstd
    if residual is not None:
        dx += residual


class LayerNorm(Layer):
    """LayerNorm over the last axis, of `dim` channels; `weight` (dim,) starts at 1 and `bias` (dim,) at 0."""

    def __init__(self, dim: int, bias: bool = True, *, device: Device, eps: float = 1e-5):
        self.weight = Parameter(device.full((dim,), 1))
        self.bias = Parameter(device.zeros((dim,))) if bias else None
        self.eps = eps

    def forward(self, x):  # (..., C) -> (..., C)
        self.expect_shape("x", x, (*x.shape[:-1], *self.weight.shape))
        rows = x.reshape(-1, x.shape[-1])  # (N, C)
        xhat, y = self.buffer("xhat", like=rows), self.buffer("y", like=x)
        bias = None if self.bias is None else self.bias.value
        rstd = normalize(rows, self.weight.value, bias, self.eps, xhat, y.reshape(rows.shape))
        self.remember(xhat, rstd, x.shape)
        return y

    def backward(self, dy, residual=None):  # (..., C) -> (..., C)
        """With `residual`, an array like dy: residual + dx, as the stream passes on beside a branch."""
        xhat, rstd, shape = self.recall()
        self.expect_shape("dy", dy, shape)
        if residual is not None:
            self.expect_shape("residual", residual, shape)
        rows, rest = (a if a is None else a.reshape(xhat.shape) for a in (dy, residual))  # (N, C)
        dx, scratch = self.scratch("dx", like=dy), self.scratch("product", like=rows)
        arrays = xhat, rstd, dx.reshape(rows.shape), scratch, rest
        dbias = None if self.bias is None else self.bias.accumulator
        normalize_backward(rows, self.weight.value, *arrays, self.weight.accumulator, dbias)
        return dx
