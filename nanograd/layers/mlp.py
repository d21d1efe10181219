"""MLP: the part of a block that works on each position alone: widen four times, an activation, narrow again.

    y = W2 act(W1 x + b1) + b2

Its backward is the chain rule read from right to left; each layer's file derives its own.
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
        h = self.activation(self.c_fc(x), inplace=True)  # (..., 4C)
        return self.c_proj(h, residual)

    def backward(self, dy):  # (..., C) -> (..., C)
        dh = self.c_proj.backward(dy)  # (..., 4C)
        return self.c_fc.backward(self.activation.backward(dh, inplace=True))
