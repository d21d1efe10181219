"""MLP: the part of a block that works on each position alone: widen four times, an activation, narrow again.

    h = x W1 + b1                        C -> 4C
    a = act(h)
    y = a W2 + b2                        4C -> C

Backward. The same lines from the last to the first; each turns the gradient of its left side into that of its right:

    da = dy W2^T                         dW2 = a^T dy        db2 = sum_n dy_n         linear.py
    dh = da * act'(h)                                                                 activations.py
    dx = dh W1^T                         dW1 = x^T dh        db1 = sum_n dh_n         linear.py
"""

from nanograd.device.device import Device
from nanograd.device.rng import RNG
from nanograd.layers.activations import ACTIVATIONS
from nanograd.layers.dropout import Dropout
from nanograd.layers.layer import Layer
from nanograd.layers.linear import Linear
from nanograd.layers.residual import ResidualLinear


class MLP(Layer):
    """c_fc (C -> 4C, or `n_inner`), activation ("relu", "gelu" or "relu2"), c_proj back to C with dropout."""

    def __init__(
        self,
        n_embd: int,
        *,
        device: Device,
        activation: str = "relu",
        dropout: float = 0.0,
        rng: RNG | None = None,
        bias: bool = True,
        proj_std: float = 0.02,
        stream: int = 0,
        n_inner: int | None = None,
    ):
        n_inner = n_inner or 4 * n_embd
        self.c_fc = Linear(n_embd, n_inner, bias, device=device, stream=stream)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        self.activation = ACTIVATIONS[activation]()
        end = Dropout(dropout, device=device, rng=rng)
        settings = {"device": device, "std": proj_std, "stream": stream + 1}
        self.c_proj = ResidualLinear(n_inner, n_embd, bias, dropout=end, **settings)

    def forward(self, x, residual=None):  # (..., C) -> (..., C)
        """With `residual`, an array like x: residual + what it is without."""
        bias = None if self.c_fc.bias is None else self.c_fc.bias.value
        h = self.activation(self.c_fc(x, add_bias=False), bias=bias, inplace=True)  # (..., 4C)
        return self.c_proj(h, residual)

    def backward(self, dy):  # (..., C) -> (..., C)
        da = self.c_proj.backward(dy)  # (..., 4C)
        dbias = None if self.c_fc.bias is None else self.c_fc.bias.accumulator
        dh = self.activation.backward(da, inplace=True, dbias=dbias)
        return self.c_fc.backward(dh, add_bias=False)
