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
from nanograd.device.parameter import Parameter
from nanograd.device.reductions import add_positions, affine
from nanograd.layers.layer import Layer


class Linear(Layer):
    """x W + b, from `n_in` to `n_out` channels. `weight` (n_in, n_out) starts normal with standard deviation `std`.

    `stream` numbers the random stream that the weights are drawn from.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = True, *, device: Device, std: float = 0.02, stream: int = 0):
        self.device = device
        self.weight = Parameter(device.normal((n_in, n_out), std, stream))
        self.bias = Parameter(device.zeros((n_out,))) if bias else None

    def product(self, x, memory, bias=None):  # (..., n_in) -> (..., n_out)
        """x W, with `bias` (n_out,) x W + bias; `memory` is self.buffer or self.scratch."""
        n_in, n_out = self.weight.shape
        self.expect_shape("x", x, (*x.shape[:-1], n_in))
        weight = self.cast_parameter(self.weight, like=x)
        self.remember(x, weight)
        y = memory("y", (*x.shape[:-1], n_out), like=x)
        x2, y2 = x.reshape(-1, n_in), y.reshape(-1, n_out)
        if bias is None:
            self.device.matmul(x2, weight, y2)
        else:
            affine(self.device, x2, weight, bias, y2)
        return y

    def forward(self, x, add_bias: bool = True):  # (..., n_in) -> (..., n_out)
        """Without `add_bias`, x W: the caller adds the bias, in a pass that it makes anyway."""
        return self.product(x, self.buffer, self.bias.value if self.bias is not None and add_bias else None)

    def backward(self, dy, add_bias: bool = True):  # (..., n_out) -> (..., n_in)
        """Without `add_bias` the caller has added the bias's gradient, in a pass that it made anyway."""
        n_in, n_out = self.weight.shape
        x, weight = self.recall()
        self.expect_shape("dy", dy, (*x.shape[:-1], n_out))
        dy2, x2 = dy.reshape(-1, n_out), x.reshape(-1, n_in)
        self.weight.add_product(self.device, x2.T, dy2)
        if self.bias is not None and add_bias:
            add_positions(dy2, self.bias.accumulator)
        dx = self.scratch("dx", x.shape, like=dy)
        self.device.matmul(dy2, weight.T, dx.reshape(-1, n_in))
        return dx
