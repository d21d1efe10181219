"""ReLU, its square and GELU: what makes an MLP more than one matrix.

Each output depends on its own input alone, so the chain rule has one term: dx = dy * dy/dx, element by element, where
the fraction is the function's derivative.

ReLU

    y  = max(x, 0)
    dx = dy where x > 0, else 0          at x = 0 the slope is taken as 0

ReLU squared (So et al. 2021, Primer, https://arxiv.org/abs/2109.08668), with r = max(x, 0):

    y  = r^2
    dx = 2 r dy                          there is no kink at 0

GELU, in the tanh form that GPT-2 uses (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415):

    u = sqrt(2/pi) (x + a x^3)           a = 0.044715
    t = tanh(u)
    y = x (1 + t) / 2

Backward, by the product rule, with dt/du = 1 - t^2 and du/dx = sqrt(2/pi) (1 + 3 a x^2):

    dy/dx = (1 + t) / 2  +  x (1 - t^2) / 2 * du/dx  =  (1 + t) / 2 * (1 + (1 - t) x du/dx)
"""

import functools
import math

import numpy as np

from nanograd.device.device import Device, fused, fused_layer
from nanograd.device.reductions import add_positions, constant_row
from nanograd.layers.layer import Layer

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def add_bias(x, bias, out):
    """x, or where there is a bias (C,) x + bias, which is written to `out`."""
    return x if bias is None else np.add(x, bias, out=out)


def add_bias_gradient(dx, dbias) -> None:
    """Add the gradient of such a bias to `dbias`, where that is given."""
    if dbias is not None:
        add_positions(dx.reshape(-1, dx.shape[-1]), dbias)


@fused
def relu(x, bias, y):
    """y = max(x + bias, 0); `bias` may be None, and `y` may be `x`."""
    x = add_bias(x, bias, y)
    np.maximum(x, constant_row(x.shape[-1], 0.0, x.dtype), out=y)  # a row: NumPy is slow with a scalar


@fused
def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0; NaN where y is NaN, which a comparison alone would turn into 0."""
    np.multiply(dy, y > 0, out=dx)
    if np.isnan(np.vdot(y, y)):  # far quicker than to look at each
        np.copyto(dx, y, where=np.isnan(y))


class ReLU(Layer):
    """max(x, 0), element by element. With `inplace`, the caller needs its array no more, and it is overwritten.

    With `bias` (C,), as all activations here take it: max(x + bias, 0), in the same pass where that can be. Its
    gradient is added to `dbias`, an array (C,) or a parameter's `accumulator`, where that is given.
    """

    def __init__(self, *, device: Device | None = None):
        pass  # any device: an array is computed where it is

    def forward(self, x, bias=None, inplace: bool = False):  # (..., C), (C,) -> (..., C)
        y = x if inplace else self.buffer("y", like=x)
        relu(x, bias, y)
        self.remember(y)
        return y

    def backward(self, dy, inplace: bool = False, dbias=None):  # (..., C) -> (..., C)
        y = self.recall()
        self.expect_shape("dy", dy, y.shape)
        dx = dy if inplace else self.scratch("dx", like=dy)
        relu_backward(dy, y, dx)
        add_bias_gradient(dx, dbias)
        return dx

    BEFORE = AFTER = 1.0

    def activate(self, x):  # (...) -> (...)
        """For a model that is only read: y / AFTER, of BEFORE times the input; over x itself, with nothing kept."""
        relu(x, None, x)
        return x


@fused
def relu_squared(x, bias, r, y):
    """r = max(x + bias, 0) and y = r^2; `bias` may be None, and `r` may be `x`."""
    relu.definition(x, bias, r)
    np.multiply(r, r, out=y)


@fused
def relu_squared_backward(dy, r, dx):
    """dx = 2 r dy. `dx` may be `dy`."""
    np.multiply(dy, r, out=dx)
    dx += dx


class ReLUSquared(Layer):
    """max(x, 0)^2, element by element. With `inplace` and `bias`, as for ReLU."""

    def __init__(self, *, device: Device | None = None):
        pass  # any device: an array is computed where it is

    def forward(self, x, bias=None, inplace: bool = False):  # (..., C), (C,) -> (..., C)
        r, y = x if inplace else self.buffer("r", like=x), self.buffer("y", like=x)
        relu_squared(x, bias, r, y)
        self.remember(r)
        return y

    def backward(self, dy, inplace: bool = False, dbias=None):  # (..., C) -> (..., C)
        r = self.recall()
        self.expect_shape("dy", dy, r.shape)
        dx = dy if inplace else self.scratch("dx", like=dy)
        relu_squared_backward(dy, r, dx)
        add_bias_gradient(dx, dbias)
        return dx

    BEFORE = AFTER = 1.0

    def activate(self, x):  # (...) -> (...)
        """For a model that is only read: y / AFTER, of BEFORE times the input; over x itself, with nothing kept."""
        relu(x, None, x)
        x *= x
        return x


@functools.lru_cache(maxsize=16)
def numbers(dtype, *values: float):
    """`values` as arrays without axes, which NumPy takes in quicker than Python's numbers. Not to be written to."""
    return [np.array(value, dtype=dtype) for value in values]


def tanh_of_u(x, square, t):
    """t as above; `square` is x^2 and may be `t`."""
    cubic, linear = numbers(x.dtype, CUBIC * SQRT_2_OVER_PI, SQRT_2_OVER_PI)
    np.multiply(square, cubic, out=t)
    t += linear
    t *= x
    np.tanh(t, out=t)


def gelu(x, y, slope, k):
    """y = x (1 + t) / 2, and slope = dy/dx as above. `y` may be `x`; `k` is an array to work in."""
    np.multiply(x, x, out=slope)
    tanh_of_u(x, slope, k)
    np.subtract(1, k, out=k)  # 1 - t
    slope *= 3 * CUBIC * SQRT_2_OVER_PI
    slope += SQRT_2_OVER_PI
    slope *= x  # x du/dx
    slope *= k
    slope += 1
    k *= -0.5
    k += 1  # (1 + t) / 2
    slope *= k
    np.multiply(x, k, out=y)


class GELU(Layer):
    """GPT-2's GELU (tanh form), element by element. With `inplace` and `bias`, as for ReLU.

    The slope is computed on the way forward, where t is at hand, and is all that is kept.
    """

    def __init__(self, *, device: Device | None = None):
        pass  # any device: an array is computed where it is

    @fused_layer("gelu_forward")
    def forward(self, x, bias=None, inplace: bool = False):  # (..., C), (C,) -> (..., C)
        y, slope = x if inplace else self.buffer("y", like=x), self.buffer("slope", like=x)
        gelu(add_bias(x, bias, y), y, slope, self.scratch("k", like=x))
        self.remember(slope)
        return y

    @fused_layer("gelu_backward")
    def backward(self, dy, inplace: bool = False, dbias=None):  # (..., C) -> (..., C)
        slope = self.recall()
        self.expect_shape("dy", dy, slope.shape)
        dx = np.multiply(dy, slope, out=dy if inplace else self.scratch("dx", like=dy))
        add_bias_gradient(dx, dbias)
        return dx

    # u = s x (sqrt(2/pi) / s + (s x)^2) for s^3 = a sqrt(2/pi), and y = s x (1 + t) / (2 s)
    BEFORE = (CUBIC * SQRT_2_OVER_PI) ** (1 / 3)  # s
    AFTER = 0.5 / BEFORE

    def activate(self, x):  # (...) -> (...)
        """For a model that is only read: y / AFTER, of BEFORE times the input; over x itself, with nothing kept."""
        linear, one = numbers(x.dtype, SQRT_2_OVER_PI / self.BEFORE, 1)
        t = x * x
        t += linear
        t *= x
        np.tanh(t, t)
        t += one
        x *= t
        return x


ACTIVATIONS = {"relu": ReLU, "gelu": GELU, "relu2": ReLUSquared}
