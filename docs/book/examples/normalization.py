"""Chapter 4: LayerNorm and RMSNorm with four numbers."""

import numpy as np
from book.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, new_figure
from book.formulas import block, factor, number, vector

from nanograd.reference.normalization import layernorm, layernorm_backward, rmsnorm, rmsnorm_backward

X = np.array([1.0, 3.0, 5.0, 7.0])
DY = np.array([1.0, 0.0, 0.0, 0.0])
ONES, ZEROS = np.ones(4), np.zeros(4)
C = 4


def parts():
    xc = X - X.mean()
    r = 1 / np.sqrt((xc**2).mean())
    return xc, r, r * xc


def x():
    return f"$x = {vector(X)}$"


def forward():
    xc, r, xhat = parts()
    squares = " + ".join(rf"{factor(value)}^2" for value in xc)
    return block(
        rf"\text{{mean}} &= ({' + '.join(map(number, X))}) / 4 = {number(X.mean())}",
        rf"xc &= x - {number(X.mean())} = {vector(xc)}",
        rf"\text{{var}} &= ({squares}) / 4",
        rf"&= {number((xc**2).mean())}",
        rf"r &= 1 / \sqrt{{{number((xc**2).mean())}}} = {number(r, 3)}",
        r"\hat{x} &= r \cdot xc",
        rf"&= {vector(xhat, 3)}",
    )


def rstd():
    return number(parts()[1])


def backward():
    xhat = parts()[2]
    g = DY
    a, b = g.mean(), (g * xhat).mean()
    dx = layernorm_backward(DY, X, ONES, ZEROS, eps=0)[0]
    return block(
        rf"g &= dy = {vector(g)}",
        rf"a &= \text{{mean}}(g) = {number(a)}",
        rf"g \cdot \hat{{x}} &= {vector(g * xhat, 3)}",
        rf"b &= \text{{mean}}(g \cdot \hat{{x}}) = {number(b, 3)}",
        r"dx &= r \cdot (g - a - \hat{x} \cdot b)",
        rf"&= {vector(dx, 3)}",
    )


def one_number():
    """The gradient of x_1, through each of the three ways, and all together by differences."""
    _, r, xhat = parts()
    directly = r * DY[0]
    through_mean = -r * DY.mean()
    through_r = -r * xhat[0] * (DY * xhat).mean()
    h = 1e-5
    up, down = X.copy(), X.copy()
    up[0] += h
    down[0] -= h
    loss = [(DY * layernorm(moved, ONES, ZEROS, eps=0)).sum() for moved in (up, down)]
    print(f"x_1 acts on xhat_1 directly      {directly:8.4f}")
    print(f"and on all four through the mean {through_mean:8.4f}")
    print(f"and on all four through r        {through_r + 0.0:8.4f}")
    print(f"together                         {directly + through_mean + through_r:8.4f}")
    print(f"by differences                   {(loss[0] - loss[1]) / (2 * h):8.4f}")


def sums():
    """What is left of a gradient has no part along a common shift of x, and none along a common stretch."""
    dy = np.array([0.3, -1.2, 0.8, 2.0])
    dx = layernorm_backward(dy, X, ONES, ZEROS, eps=0)[0]
    _, _, xhat = parts()
    print(f"dx {np.round(dx, 4)}")
    print(f"sum of dx        {abs(dx.sum()):.4f}")
    print(f"sum of dx * xhat {abs((dx * xhat).sum()):.4f}")


def shift_and_stretch():
    """The output does not see a shift or a stretch of x."""
    for name, moved in (("x", X), ("x + 10", X + 10), ("5 x", 5 * X)):
        print(f"{name:7} {np.round(layernorm(moved, ONES, ZEROS, eps=0), 4)}")


def rms():
    """RMSNorm of the same four numbers, forward and back."""
    y = rmsnorm(X, ONES, eps=0)
    dx, _ = rmsnorm_backward(DY, X, ONES, eps=0)
    print(f"root of the mean square {np.sqrt((X**2).mean()):.4f}")
    print(f"y  {np.round(y, 4)}")
    print(f"dx {np.round(dx, 4)}")


def ones_see_nothing():
    """Two formulas, one of them wrong, tried with dy = 1 everywhere and with a random dy."""
    _, r, xhat = parts()
    for name, dy in (("dy = 1", ONES), ("random", np.array([0.3, -1.2, 0.8, 2.0]))):
        right = r * (dy - dy.mean() - xhat * (dy * xhat).mean())
        wrong = r * (dy - dy.mean())
        print(f"{name}: right {np.round(right, 4) + 0.0}, without the second mean {np.round(wrong, 4) + 0.0}")


def moved():
    """Four curves, the normalised numbers over x_1. All four bend, though only x_1 moves; the slopes at x_1 = 1 are a
    column of the Jacobian."""
    _, r, xhat = parts()
    values = np.linspace(-4, 8, 121)
    figure, axes = new_figure()
    inputs = np.tile(X, (121, 1))
    inputs[:, 0] = values
    outputs = layernorm(inputs, ONES, ZEROS, eps=0)
    for i, colour in enumerate((BLUE, ORANGE, GREEN, PURPLE)):
        slope = r * ((i == 0) - 1 / C - xhat[i] * xhat[0] / C)
        axes.plot(values, outputs[:, i], color=colour)
        near = np.array([-0.6, 2.6])
        axes.plot(near, xhat[i] + slope * (near - 1), "--", color=INK, linewidth=1.2)
        axes.plot([1], [xhat[i]], "o", color=colour)
        axes.annotate(rf"$\hat{{x}}_{i + 1}$", (8.1, outputs[-1, i]), va="center", color=colour)
    axes.set(xlabel="$x_1$, the other three as they are", ylabel="normalised", xlim=(-4, 8.8))
    return figure
