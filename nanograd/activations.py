"""ReLU and GELU: what makes an MLP more than one matrix.

ReLU

    y  = max(x, 0)
    dx = dy where x > 0, else 0          at x = 0 the slope is taken as 0

GELU, in the tanh form that GPT-2 uses (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415):

    u = sqrt(2/pi) (x + a x^3)           a = 0.044715
    t = tanh(u)
    y = x (1 + t) / 2

Backward, by the product rule, with dt/du = 1 - t^2 and du/dx = sqrt(2/pi) (1 + 3 a x^2):

    dy/dx = (1 + t) / 2  +  x (1 - t^2) / 2 * sqrt(2/pi) (1 + 3 a x^2)
"""

import math

import numpy as np

from nanograd.backend import fused
from nanograd.layer import Layer
from nanograd.rows import constant_row

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


@fused
def relu(x, y):
    """y = max(x, 0)."""
    np.maximum(x, constant_row(x.shape[-1], 0.0, x.dtype), out=y)  # a row: NumPy is slow with a scalar


@fused
def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0."""
    np.multiply(dy, y > 0, out=dx)


class ReLU(Layer):
    """max(x, 0), element by element. With `spare`, the caller needs its array no more, and it is overwritten."""

    def forward(self, x, spare: bool = False):  # (...) -> (...)
        y = x if spare else self.buffer("y", like=x)
        relu(x, y)
        self.remember(y)
        return y

    def backward(self, dy, spare: bool = False):  # (...) -> (...)
        y = self.recall()
        dx = dy if spare else self.scratch("dx", like=dy)
        relu_backward(dy, y, dx)
        return dx


@fused
def gelu(x, scratch, y):
    """y = x (1 + t) / 2, with t = tanh(u) and u as above; returns t, in the array that scratch() makes."""
    t = scratch()
    np.multiply(x, x, out=t)
    t *= CUBIC * SQRT_2_OVER_PI
    t += SQRT_2_OVER_PI
    t *= x
    np.tanh(t, out=t)
    np.add(t, 1, out=y)
    y *= x
    y *= 0.5
    return t


@fused
def gelu_backward(dy, x, t, dx):
    """dx = dy * dy/dx as above."""
    slope = x * x
    slope *= 1.5 * CUBIC * SQRT_2_OVER_PI
    slope += 0.5 * SQRT_2_OVER_PI
    slope *= x  # x / 2 * du/dx
    np.multiply(t, t, out=dx)
    np.subtract(1, dx, out=dx)
    slope *= dx  # x / 2 * (1 - t^2) * du/dx
    np.multiply(t, 0.5, out=dx)
    dx += 0.5
    dx += slope
    dx *= dy


class GELU(Layer):
    """GPT-2's GELU (tanh form), element by element. `spare` is for ReLU: this one still needs its input."""

    def forward(self, x, spare: bool = False):  # (...) -> (...)
        y = self.buffer("y", like=x)
        t = gelu(x, lambda: self.buffer("t", like=x), y)
        self.remember(x, t)
        return y

    def backward(self, dy, spare: bool = False):  # (...) -> (...)
        x, t = self.recall()
        dx = self.scratch("dx", like=dy)
        gelu_backward(dy, x, t, dx)
        return dx


ACTIVATIONS = {"relu": ReLU, "gelu": GELU}
