"""ResidualLinear: the end of a block's branch, where it flows back into the stream x that it left.

    y = x + m (h W + b)

with a dropout mask m as in dropout.py, all 1 where nothing is dropped.

Backward. x acts on y directly, with ∂y_j/∂x_j = 1, and again through h, which the block computed from it. The two
gradients add up:

    dx = dy + (what the branch returns)

The first part is dy as it is. This layer does not add it: `backward` returns the branch's part alone, and the block,
which has dy too, adds both where the branch began (Block.backward in gpt/model.py). Into the branch goes

    d(h W + b) = m dy

and on from there as in linear.py.

After the product nothing is left but sums, element by element: together they are one pass over y.
"""

from nanograd.device.device import Device, fused
from nanograd.layers.dropout import Dropout
from nanograd.layers.linear import Linear


@fused
def finish_branch(y, bias, mask, x):  # (N, C), (C,), (N, C), (N, C)
    """y = x + mask * (y + bias), in place. Each of the three may be None, and is left out then."""
    if bias is not None:
        y += bias
    if mask is not None:
        y *= mask
    if x is not None:
        y += x


class ResidualLinear(Linear):
    """x + dropout(h W + b), with the weights of a Linear.

    With `scratch_output` the output lies in scratch memory, which the next block of a stack overwrites: for an output
    that only this block reads, and that no backward pass needs.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        *,
        dropout: Dropout,
        device: Device,
        scratch_output: bool = False,
        **settings,
    ):
        super().__init__(n_in, n_out, bias, device=device, **settings)
        self.dropout, self.scratch_output = dropout, scratch_output

    def forward(self, h, x=None):  # (..., n_in), (..., n_out) -> (..., n_out)
        """Without `x` the branch alone. The first axis counts samples, for dropout."""
        y = self.product(h, self.scratch if self.scratch_output else self.buffer)
        if x is not None:
            self.expect_shape("x", x, y.shape)
        mask = self.dropout.mask("mask", y.shape, like=y)
        self.dropout.remember(mask, y.shape)
        bias = None if self.bias is None else self.bias.value
        rows, mask, x = (a if a is None else a.reshape(-1, y.shape[-1]) for a in (y, mask, x))
        finish_branch(rows, bias, mask, x)
        return y

    def backward(self, dy):  # (..., n_out) -> (..., n_in)
        return super().backward(self.dropout.backward(dy))
