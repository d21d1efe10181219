"""Sums, products and copies, element by element, that several layers need: a residual, a mask, a rounded copy."""

import numpy as np

from nanograd.device.device import fused


@fused
def add(x, y, out):
    """out = x + y. `y` may lack leading axes of `x`; `out` may be `x` or `y`."""
    np.add(x, y, out=out)


@fused
def multiply(x, y, out):
    """out = x * y, arrays of one shape. `out` may be `x` or `y`."""
    np.multiply(x, y, out=out)


@fused
def cast(x, out):
    """out = x, rounded to the dtype of `out`."""
    np.copyto(out, x, casting="unsafe")
