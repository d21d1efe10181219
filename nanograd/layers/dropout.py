"""Dropout: in training, set a random share p of the elements to zero and stretch the rest by 1 / (1 - p).

Forward, with a mask m whose elements are 0 with probability p, else 1 / (1 - p) ("inverted" dropout, so the
expectation of m is 1 and evaluation needs no correction; Srivastava et al. 2014):

    y = x * m

Backward, for that same m:

    dx = dy * m

In evaluation, and for p = 0, it is the identity.
"""

from nanograd.device.device import Device, fused
from nanograd.device.elementwise import multiply
from nanograd.device.rng import RNG
from nanograd.layers.layer import Layer


@fused
def draw_mask(mask, rng: RNG, p: float):
    """Fill `mask` with 0 or 1 / (1 - p)."""
    rng.mask(mask.shape, p, mask)


@fused
def drop(x, rng: RNG, p: float, mask, y):
    """y = x * mask, for a fresh mask."""
    draw_mask.definition(mask, rng, p)
    multiply.definition(x, mask, y)


class Dropout(Layer):
    """Drop with probability `p` in [0, 1). The first axis of the input counts samples.

    `rng` supplies the random numbers; layers of one model share it. Without one the layer makes its own from
    the device's seed (0 without a device).
    """

    def __init__(self, p: float, *, device: Device | None = None, rng: RNG | None = None):
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {p}")
        self.p = p
        self.rng = rng or RNG(device.seed if device else 0)

    def mask(self, name: str, shape, like):
        """A fresh mask of `shape` in the buffer `name`, or None where nothing is dropped."""
        if not self.training or self.p == 0:
            return None
        mask = self.buffer(name, shape, like=like)
        draw_mask(mask, self.rng, self.p)
        return mask

    def forward(self, x):  # (B, ...) -> (B, ...)
        if not self.training or self.p == 0:
            self.remember(None, x.shape)
            return x
        mask, y = self.buffer("mask", like=x), self.buffer("y", like=x)
        drop(x, self.rng, self.p, mask, y)
        self.remember(mask, x.shape)
        return y

    def backward(self, dy):  # (B, ...) -> (B, ...)
        mask, shape = self.recall()
        self.expect_shape("dy", dy, shape)
        if mask is None:
            return dy
        dx = self.scratch("dx", like=dy)
        multiply(dy, mask, dx)
        return dx
