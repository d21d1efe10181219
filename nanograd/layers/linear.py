"""Linear: y = x W + b, the same affine map at every position.

Forward, for one position, with weights stored (in, out) as in GPT-2's own files:

    y_j = sum_i x_i W_ij + b_j

Backward. dy_j = ∂L/∂y_j comes from the layer above (layer.py has the chain rule). From the line above,

    ∂y_j/∂x_i = W_ij        ∂y_j/∂W_ij = x_i        ∂y_j/∂b_j = 1

x_i acts on the loss through every y_j of its position; W_ij and b_j only through y_j, but at every position n of the
batch. What acts in several places adds up:

    dx_i  = sum_j dy_j W_ij            dx = dy W^T
    dW_ij = sum_n dy_nj x_ni           dW = x^T dy
    db_j  = sum_n dy_nj                db = 1^T dy

Positions are independent, so (B, T, C) is treated as (B*T, C): three plain 2-D matrix products.
"""

from nanograd.device.device import Device
from nanograd.device.reductions import add_positions, add_rows
from nanograd.layers.layer import Layer, Parameter


class Linear(Layer):
    """x W + b, from `n_in` to `n_out` channels. `weight` (n_in, n_out) starts normal with deviation `std`.

    `stream` numbers the random stream that the weights are drawn from.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = True, *, device: Device, std: float = 0.02, stream: int = 0):
        self.device = device
        self.weight = Parameter(device.normal((n_in, n_out), std, stream))
        self.bias = Parameter(device.zeros((n_out,))) if bias else None

    def product(self, x, memory):  # (..., n_in) -> (..., n_out)
        """x W alone, which forward goes on from; `memory` is self.buffer or self.scratch."""
        n_in, n_out = self.weight.shape
        self.expect_shape("x", x, (*x.shape[:-1], n_in))
        weight = self.cast_parameter(self.weight, like=x)
        self.remember(x, weight)
        y = memory("y", (*x.shape[:-1], n_out), like=x)
        self.device.matmul(x.reshape(-1, n_in), weight, y.reshape(-1, n_out))
        return y

    def forward(self, x, add_bias: bool = True):  # (..., n_in) -> (..., n_out)
        """Without `add_bias`, x W: the caller adds the bias, in a pass that it makes anyway."""
        y = self.product(x, self.buffer)
        if self.bias is not None and add_bias:
            add_rows(y.reshape(-1, y.shape[-1]), self.bias.value)
        return y

    def backward(self, dy):  # (..., n_out) -> (..., n_in)
        n_in, n_out = self.weight.shape
        x, weight = self.recall()
        self.expect_shape("dy", dy, (*x.shape[:-1], n_out))
        dy2, x2 = dy.reshape(-1, n_out), x.reshape(-1, n_in)
        self.weight.add_product(self.device, x2.T, dy2)
        if self.bias is not None:
            add_positions(dy2, self.bias.grad)
        dx = self.scratch("dx", x.shape, like=dy)
        self.device.matmul(dy2, weight.T, dx.reshape(-1, n_in))
        return dx
