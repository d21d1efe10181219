"""Chapter 2: a linear layer small enough for a pencil, its gradient by hand and by differences."""

import numpy as np
from book.drawing import BLUE, INK, ORANGE, new_figure
from book.formulas import block, matrix, number, products, vector

from nanograd.reference.linear import linear, linear_backward

X = np.array([1.0, 2.0])
W = np.array([[3.0, -1.0], [0.0, 2.0]])
B = np.array([1.0, 0.0])
TARGET = np.array([3.0, 5.0])
RATE = 0.1


def loss_of(y):
    return 0.5 * np.sum((y - TARGET) ** 2)


def upstream():
    return linear(X, W, B) - TARGET


def given():
    return block(rf"x = {vector(X)} \quad W = {matrix(W)} \quad b = {vector(B)}")


def forward():
    y = linear(X, W, B)
    return block(*(rf"y_{j + 1} &= {products(X, W[:, j])} + {number(B[j])} = {number(y[j])}" for j in range(2)))


def loss():
    return number(loss_of(linear(X, W, B)))


def target():
    return f"$t = {vector(TARGET)}$"


def dy():
    return block(f"dy = y - t = {vector(upstream())}")


def backward_x():
    dx, _, _ = linear_backward(upstream(), X, W, B)
    return block(*(rf"dx_{i + 1} &= {products(upstream(), W[i])} = {number(dx[i])}" for i in range(2)))


def backward_weight():
    d = upstream()
    _, dW, _ = linear_backward(d, X, W, B)
    first = rf"x_1 \cdot dy \\ x_2 \cdot dy \end{{pmatrix}} = {matrix(dW)}"
    return block(r"dW &= \begin{pmatrix} " + first, f"db &= dy = {vector(d)}")


def by_differences():
    """A second way to the same numbers: move one input a little, and see what the loss does."""
    h = 1e-4
    dy = linear(X, W, B) - TARGET
    dx, _, _ = linear_backward(dy, X, W, B)
    for i in range(2):
        up, down = X.copy(), X.copy()
        up[i] += h
        down[i] -= h
        slope = (loss_of(linear(up, W, B)) - loss_of(linear(down, W, B))) / (2 * h)
        print(f"dx_{i + 1}: {dx[i]:7.4f} by hand, {slope:7.4f} by differences")


def step():
    """One step against the gradient."""
    dy = linear(X, W, B) - TARGET
    _, dW, db = linear_backward(dy, X, W, B)
    before = loss_of(linear(X, W, B))
    after = loss_of(linear(X, W - RATE * dW, B - RATE * db))
    print(f"loss {before:.4f} before the step, {after:.4f} after it")


def entries():
    return f"{512 * 512:,}"


def two_positions():
    """x is (2, 2) now: two positions, one below the other."""
    x = np.array([[1.0, 2.0], [0.0, -1.0]])
    dy = np.array([[1.0, -2.0], [3.0, 1.0]])
    _, dW, db = linear_backward(dy, x, W, B)
    alone = [linear_backward(dy[n], x[n], W, B)[1] for n in range(2)]
    print(f"dW of position 1\n{alone[0]}\ndW of position 2\n{alone[1]}\ndW of both\n{dW}\ndb of both\n{db}")


def slope():
    """A parabola, the loss over the weight in row 2, column 2; at the weight's value a straight line touches it."""
    _, dW, _ = linear_backward(upstream(), X, W, B)
    values = np.linspace(0, 5, 61)
    losses = []
    for value in values:
        moved = W.copy()
        moved[1, 1] = value
        losses.append(loss_of(linear(X, moved, B)))
    here, height = W[1, 1], loss_of(linear(X, W, B))
    near = np.array([here - 0.75, here + 0.75])
    figure, axes = new_figure()
    axes.plot(values, losses, color=BLUE)
    axes.plot(near, height + dW[1, 1] * (near - here), "--", color=ORANGE)
    axes.plot([here], [height], "o", color=INK)
    axes.annotate(f"slope $dW_{{22}}$ = {number(dW[1, 1])}", (here + 0.1, height + 0.2), color=ORANGE)
    axes.set(xlabel="$W_{22}$, everything else as it is", ylabel="loss", ylim=(-0.5, 10))
    return figure
