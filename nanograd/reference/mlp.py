"""MLP: two linear maps with an activation between them, at each position alone.

    h = x W1 + b1          a = f(h)          y = a W2 + b2

Backward is the same three steps from the last to the first, each given what the one after it returned.
"""

from nanograd.reference.activations import relu, relu_backward
from nanograd.reference.linear import linear, linear_backward


def mlp(x, W1, b1, W2, b2, f=relu):  # (..., C), (C, 4C), (4C,), (4C, C), (C,) -> (..., C)
    return linear(f(linear(x, W1, b1)), W2, b2)


def mlp_backward(dy, x, W1, b1, W2, b2, f=relu, f_backward=relu_backward):
    h = linear(x, W1, b1)  # (..., 4C)
    da, dW2, db2 = linear_backward(dy, f(h), W2, b2)
    dh = f_backward(da, h)  # (..., 4C)
    dx, dW1, db1 = linear_backward(dh, x, W1, b1)
    return dx, dW1, db1, dW2, db2
