"""MLP: the part of a block that works on each position alone: widen four times, bend, narrow again.

    y = W2 act(W1 x + b1) + b2

Its backward is the chain rule read from right to left; each layer's file derives its own.
"""

from nanograd.activations import ACTIVATIONS
from nanograd.backend import Device
from nanograd.dropout import Dropout
from nanograd.layer import Layer
from nanograd.linear import Linear
from nanograd.noise import Noise


class MLP(Layer):
    """c_fc (C -> 4C), activation ("relu" or "gelu"), c_proj (4C -> C), dropout."""

    def __init__(
        self,
        n_embd: int,
        *,
        device: Device,
        activation: str = "relu",
        dropout: float = 0.0,
        noise: Noise | None = None,
        bias: bool = True,
        proj_std: float = 0.02,
        stream: int = 0,
    ):
        self.c_fc = Linear(n_embd, 4 * n_embd, bias, device=device, stream=stream)
        self.activation = ACTIVATIONS[activation]()
        self.c_proj = Linear(4 * n_embd, n_embd, bias, device=device, std=proj_std, stream=stream + 1, passing=True)
        self.dropout = Dropout(dropout, device=device, noise=noise)

    def forward(self, x):  # (..., C) -> (..., C)
        h = self.activation(self.c_fc(x), spare=True)  # (..., 4C)
        return self.dropout(self.c_proj(h))

    def backward(self, dy):  # (..., C) -> (..., C)
        dh = self.c_proj.backward(self.dropout.backward(dy))  # (..., 4C)
        return self.c_fc.backward(self.activation.backward(dh, spare=True))
