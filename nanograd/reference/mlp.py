"""MLP: two linear maps with an activation between them, at each position alone.

    h = x W1 + b1          a = f(h)          y = a W2 + b2

Backward is the same three steps from the last to the first, each given what the one after it returned.

SwiGLU (Shazeer 2020), the MLP of Llama, has a third map whose activation opens a gate for each hidden number. x acts
through both products, and the two gradients add up:

    a = silu(g) * u            g = x Wg        u = x Wu        y = a Wd
"""

from nanograd.reference.activations import relu, relu_backward, silu, silu_backward
from nanograd.reference.linear import linear, linear_backward


def mlp(x, W1, b1, W2, b2, f=relu):  # (..., C), (C, 4C), (4C,), (4C, C), (C,) -> (..., C)
    return linear(f(linear(x, W1, b1)), W2, b2)


def mlp_backward(dy, x, W1, b1, W2, b2, f=relu, f_backward=relu_backward):
    h = linear(x, W1, b1)  # (..., 4C)
    da, dW2, db2 = linear_backward(dy, f(h), W2, b2)
    dx, dW1, db1 = linear_backward(f_backward(da, h), x, W1, b1)
    return dx, dW1, db1, dW2, db2


def swiglu(x, Wg, Wu, Wd):  # (..., C), (C, n), (C, n), (n, C) -> (..., C)
    return linear(silu(x @ Wg) * (x @ Wu), Wd)


def swiglu_backward(dy, x, Wg, Wu, Wd):
    g, u = x @ Wg, x @ Wu  # (..., n)
    da, dWd, _ = linear_backward(dy, silu(g) * u, Wd)
    dx_g, dWg, _ = linear_backward(silu_backward(da * u, g), x, Wg)
    dx_u, dWu, _ = linear_backward(da * silu(g), x, Wu)
    return dx_g + dx_u, dWg, dWu, dWd
