"""RoPE: say where a query or key stands by rotating it (Su et al. 2021, https://arxiv.org/abs/2104.09864).

The D channels of a head form D/2 pairs. At position t, pair i is rotated in its plane by the angle t f_i:

    y_a = x_a cos(t f_i) - x_b sin(t f_i)
    y_b = x_b cos(t f_i) + x_a sin(t f_i)        f_i = theta^(-2i/D), i = 0 … D/2 - 1

A dot product of two vectors rotated by the same angle is what it was, so q_s . k_t depends on where they stand only
through s - t: attention sees distances, and no table of positions has to be learned.

Which channels are a pair is a matter of layout, and files come in both: "half" pairs a = i with b = i + D/2, as Hugging
Face's Llama does, "interleaved" a = 2i with b = 2i + 1, as the paper does. In either one

    y = x * cos + swapped(x) * sin

where swapped exchanges the two of each pair, and sin carries the minus sign where a pair's first stands.

Backward. y_a and y_b both depend on x_a and x_b; the Jacobian of a pair can be read off above. By the chain rule

    dx_a = dy_a ∂y_a/∂x_a + dy_b ∂y_b/∂x_a =  dy_a cos(t f_i) + dy_b sin(t f_i)
    dx_b = dy_a ∂y_a/∂x_b + dy_b ∂y_b/∂x_b = -dy_a sin(t f_i) + dy_b cos(t f_i)

which is the rotation by minus the angle:

    dx = dy * cos - swapped(dy) * sin

Scaling, for a context longer than the one trained on. "linear" divides every f_i by `factor`, as if positions lay
closer. "llama3" (Llama 3.1) leaves wavelengths w_i = 2 pi / f_i below original / high as they are, divides f_i by
`factor` above original / low, and between them takes a mean of both:

    f_i' = ((1 - r) / factor + r) f_i            r = (original / w_i - low) / (high - low)
"""

import functools
import math

import numpy as np

from nanograd.device.device import Device, fused, xp_of
from nanograd.layers.layer import Layer

LAYOUTS = "half", "interleaved"
LARGEST_TILED = 2**17  # elements of a table that stays in a core's cache


def rope_frequencies(
    dim: int,
    theta: float = 10000.0,
    scaling: str = "none",
    factor: float = 1.0,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
    original_context: int = 8192,
) -> np.ndarray:  # -> (D/2,)
    """f_i in radians for each position, float64. Raises ValueError for a scaling that is not known."""
    f = theta ** (-2.0 * np.arange(dim // 2) / dim)
    if scaling == "none":
        return f
    if scaling == "linear":
        return f / factor
    if scaling == "llama3":
        r = (original_context * f / (2 * math.pi) - low_freq_factor) / (high_freq_factor - low_freq_factor)
        r = np.clip(r, 0, 1)
        return ((1 - r) / factor + r) * f
    raise ValueError(f"RoPE's scaling is none, linear or llama3, not {scaling!r}")


@functools.lru_cache(maxsize=16)
def rotation_tables(frequencies: tuple, layout: str, start: int, stop: int, dtype, xp=np):  # -> twice (T, 1, D)
    """cos and signed sin of every channel at positions start, …, stop - 1. Not to be written to."""
    angles = np.arange(start, stop)[:, None] * np.array(frequencies)  # (T, D/2)
    cos, sin = np.cos(angles), np.sin(angles)
    axis = 1 if layout == "half" else 2
    tables = (np.stack(pair, axis).reshape(stop - start, 1, -1) for pair in ((cos, cos), (-sin, sin)))
    return tuple(xp.asarray(table, dtype=dtype) for table in tables)


def swapped(x, layout: str):  # (..., D) -> a view of the same numbers, (..., 2, D/2) or (..., D/2, 2)
    """The two channels of each pair in each other's place."""
    if layout == "half":
        return x.reshape(*x.shape[:-1], 2, -1)[..., ::-1, :]
    return x.reshape(*x.shape[:-1], -1, 2)[..., ::-1]


@functools.lru_cache(maxsize=16)
def tiled_tables(heads: int, *which):  # -> twice (T, heads, D), or (T, 1, D)
    """rotation_tables(*which), where they are small once for each head: NumPy is quicker along longer rows."""
    tables = rotation_tables(*which)
    if heads * tables[0].size > LARGEST_TILED:
        return tables
    return tuple(np.ascontiguousarray(np.broadcast_to(t, (len(t), heads, t.shape[2]))) for t in tables)


@fused
def rotate(x, cos, sin, layout, backward, y, scratch):  # (B, T, heads, D), (T, 1 or heads, D) twice
    """y = x * cos + swapped(x) * sin, or minus that with `backward`. `y` may be `x`; `scratch` is like x."""
    pairs = swapped(x, layout)
    rotated = scratch.reshape(pairs.shape)
    np.multiply(pairs, sin.reshape(*sin.shape[:-1], *pairs.shape[-2:]), out=rotated)
    np.multiply(x, cos, out=y)
    if backward:
        y -= scratch
    else:
        y += scratch


class RoPE(Layer):
    """Rotates heads of `dim` channels, an even number, by their positions.

    `layout` is "half" or "interleaved"; theta, scaling and what belongs to it as in `rope_frequencies`.
    Raises ValueError for what cannot be.
    """

    def __init__(self, dim: int, layout: str = "half", *, device: Device | None = None, **settings):
        if dim % 2 or dim < 2:
            raise ValueError(f"RoPE rotates pairs of channels: it needs an even number of them, not {dim}")
        if layout not in LAYOUTS:
            raise ValueError(f"RoPE's layout is half or interleaved, not {layout!r}")
        # Any device: an array is computed where it is.
        self.dim, self.layout, self.frequencies = dim, layout, tuple(rope_frequencies(dim, **settings).tolist())

    def tables(self, start: int, stop: int, like):  # -> twice (T, 1, D)
        """cos and signed sin at positions start, …, stop - 1, beside an array `like`: in float32 at least."""
        return rotation_tables(*self._which(start, stop, like))

    def _which(self, start: int, stop: int, like) -> tuple:
        dtype = np.dtype("float32" if like.real.dtype.itemsize < 8 else "float64")
        return self.frequencies, self.layout, start, stop, dtype, xp_of(like)

    def forward(self, x, start: int = 0, inplace: bool = False):  # (B, T, heads, D) -> (B, T, heads, D)
        """The first position is `start`. With `inplace`, the caller needs its array no more, and it is overwritten."""
        self.expect_shape("x", x, (*x.shape[:3], self.dim))
        self.remember(start, x.shape)
        return self._rotate(x, start, False, x if inplace else self.buffer("y", like=x))

    def backward(self, dy, inplace: bool = False):  # (B, T, heads, D) -> (B, T, heads, D)
        start, shape = self.recall()
        self.expect_shape("dy", dy, shape)
        return self._rotate(dy, start, True, dy if inplace else self.scratch("dx", like=dy))

    def _rotate(self, x, start, backward, y):
        which = self._which(start, start + x.shape[1], x)
        on_host = isinstance(x, np.ndarray)
        cos, sin = tiled_tables(x.shape[2], *which) if on_host else rotation_tables(*which)
        rotate(x, cos, sin, self.layout, backward, y, self.scratch("rotated", like=x))
        return y
