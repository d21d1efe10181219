"""LayerNorm and RMSNorm: bring the C channels of each position to one scale. All means are over those channels.

LayerNorm (Ba et al. 2016)                                RMSNorm (Zhang & Sennrich 2019)

    xc   = x - mean(x)
    xhat = r xc          r = 1 / sqrt(mean(xc^2) + eps)       xhat = r x          r = 1 / sqrt(mean(x^2) + eps)
    y    = xhat * weight + bias                               y    = xhat * weight

Backward. g = dy * weight is the gradient that reaches xhat. From there one step at a time, for RMSNorm:

    x_j acts on xhat_j directly:              ∂xhat_j/∂x_j = r                (r held fixed)
    x_j acts on every xhat_i through r:       ∂xhat_i/∂r   = x_i              ∂r/∂x_j = -r^3 x_j / C

(the last one: r = m^(-1/2) with m = mean(x^2) + eps; dr/dm = -r^3 / 2 and ∂m/∂x_j = 2 x_j / C). Together

    dx_j = r g_j + (sum_i g_i x_i) (-r^3 x_j / C) = r (g_j - xhat_j mean(g * xhat))

In LayerNorm this is dxc. One step more, for xc = x - mean(x): x_j acts on xc_j by 1 and on every xc_i by -1/C, so
dx = dxc - mean(dxc). The second term of dxc has mean 0 already, as xhat has. What is left is

    dx = r (g - mean(g) - xhat mean(g * xhat))
"""

import numpy as np

from nanograd.reference.linear import rows


def mean(x):  # (..., C) -> (..., 1)
    return x.mean(-1, keepdims=True)


def layernorm(x, weight, bias, eps=1e-5):  # (..., C), (C,), (C,) -> (..., C)
    xc = x - mean(x)
    xhat = xc / np.sqrt(mean(xc**2) + eps)
    return xhat * weight + bias


def layernorm_backward(dy, x, weight, bias, eps=1e-5):  # -> dx, dweight, dbias
    xc, g = x - mean(x), dy * weight  # (..., C)
    r = 1 / np.sqrt(mean(xc**2) + eps)  # (..., 1)
    xhat = r * xc  # (..., C)
    dx = r * (g - mean(g) - xhat * mean(g * xhat))  # (..., C)
    return dx, rows(dy * xhat).sum(0), rows(dy).sum(0)


def rmsnorm(x, weight, eps=1e-5):  # (..., C), (C,) -> (..., C)
    return x / np.sqrt(mean(x**2) + eps) * weight


def rmsnorm_backward(dy, x, weight, eps=1e-5):  # -> dx, dweight
    r = 1 / np.sqrt(mean(x**2) + eps)  # (..., 1)
    xhat, g = r * x, dy * weight  # (..., C)
    dx = r * (g - xhat * mean(g * xhat))  # (..., C)
    return dx, rows(dy * xhat).sum(0)
