"""SwiGLU: an MLP in which one half opens a gate for the other (Shazeer 2020, https://arxiv.org/abs/2002.05202).

    y = (silu(x W_gate) * (x W_fc)) W_proj                   silu(g) = g s        s = 1 / (1 + exp(-g))

SwiGLU, the part without parameters, for a gate g and what it lets through, u:

    y = silu(g) * u

Backward. The sigmoid's derivative is s (1 - s), so by the product rule silu'(g) = s + g s (1 - s), and

    du = dy * silu(g)                    dg = dy * u * silu'(g)        silu'(g) = s + silu(g) (1 - s)

The rest is linear.py, three times. x goes into two products, g = x W_gate and u = x W_fc, and acts on the loss by both.
What comes back by the two ways adds up:

    dx = dg W_gate^T + du W_fc^T
"""

import numpy as np

from nanograd.device.device import Device, fused_layer
from nanograd.device.rng import RNG
from nanograd.layers.dropout import Dropout
from nanograd.layers.layer import Layer
from nanograd.layers.linear import Linear
from nanograd.layers.residual import ResidualLinear

PIECE = 2**16  # elements


def sigmoid(g, s):  # (...), (...)
    """s = 1 / (1 + exp(-g)), written as (1 + tanh(g / 2)) / 2, which cannot overflow."""
    np.multiply(g, 0.5, out=s)
    np.tanh(s, out=s)
    s += 1
    s *= 0.5


def swiglu(g, u, y, silu, slope):  # all of one shape
    """y = silu(g) u, silu = silu(g), slope = u silu'(g). `y` may be `u`; `slope` may not be `g`."""
    sigmoid(g, slope)
    np.multiply(g, slope, out=silu)
    rest = np.subtract(1, silu)
    slope *= rest  # s (1 - silu)
    slope += silu  # s + silu (1 - s) = silu + s (1 - silu)
    slope *= u
    np.multiply(silu, u, out=y)


def swiglu_in_pieces(*arrays) -> None:  # g, u, y, silu, slope
    """The same a piece at a time where that is possible: what ten passes go over then stays in a core's cache."""
    if not all(array.flags.c_contiguous for array in arrays):
        return swiglu(*arrays)
    arrays = [array.reshape(-1) for array in arrays]
    for start in range(0, arrays[0].size, PIECE):
        swiglu(*(array[start : start + PIECE] for array in arrays))


class SwiGLU(Layer):
    """silu(gate) * up, element by element. With `inplace`, the caller needs `up` no more, and it is overwritten."""

    def __init__(self, *, device: Device | None = None):
        pass  # any device: an array is computed where it is

    @fused_layer("swiglu_forward")
    def forward(self, gate, up, inplace: bool = False):  # (...), (...) -> (...)
        self.expect_shape("up", up, gate.shape)
        y = up if inplace else self.buffer("y", like=up)
        silu, slope = self.buffer("silu", like=gate), self.buffer("slope", like=gate)
        swiglu_in_pieces(gate, up, y, silu, slope)
        self.remember(silu, slope)
        return y

    @fused_layer("swiglu_backward")
    def backward(self, dy):  # (...) -> (...), (...)
        silu, slope = self.recall()
        self.expect_shape("dy", dy, silu.shape)
        return np.multiply(dy, slope, out=slope), np.multiply(dy, silu, out=silu)


class GatedMLP(Layer):
    """c_gate and c_fc (C -> n_inner), SwiGLU, c_proj (n_inner -> C) with dropout."""

    def __init__(
        self,
        n_embd: int,
        n_inner: int,
        *,
        device: Device,
        dropout: float = 0.0,
        rng: RNG | None = None,
        bias: bool = True,
        proj_std: float = 0.02,
        stream: int = 0,
        gate_stream: int = 2,
    ):
        self.c_gate = Linear(n_embd, n_inner, bias, device=device, stream=gate_stream)
        self.c_fc = Linear(n_embd, n_inner, bias, device=device, stream=stream)
        self.activation = SwiGLU()
        end = Dropout(dropout, device=device, rng=rng)
        settings = {"device": device, "std": proj_std, "stream": stream + 1}
        self.c_proj = ResidualLinear(n_inner, n_embd, bias, dropout=end, **settings)

    def forward(self, x, residual=None):  # (..., C) -> (..., C)
        """With `residual`, an array like x: residual + what it is without."""
        h = self.activation(self.c_gate(x), self.c_fc(x), inplace=True)  # (..., n_inner)
        return self.c_proj(h, residual)

    def backward(self, dy):  # (..., C) -> (..., C)
        dgate, dup = self.activation.backward(self.c_proj.backward(dy))  # (..., n_inner) each
        dx = self.c_gate.backward(dgate)
        dx += self.c_fc.backward(dup)
        return dx
