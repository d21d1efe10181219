"""Chapter 3: what stands between two linear layers."""

import math

import numpy as np
from book.drawing import BLUE, GREEN, ORANGE, PURPLE, new_figure
from book.formulas import block, matrix, number, vector

from nanograd.reference.activations import (
    gelu,
    gelu_backward,
    relu,
    relu2,
    relu2_backward,
    relu_backward,
    silu,
    silu_backward,
)

X = np.array([2.0, -1.0, 0.5, -3.0])
DY = np.array([1.0, 2.0, -3.0, 4.0])
A = np.array([[1.0, 2.0], [0.0, 1.0]])
B = np.array([[3.0, 0.0], [1.0, -1.0]])


def two_are_one():
    return block(rf"{matrix(A)}{matrix(B)} = {matrix(A @ B)}")


def exclusive_or():
    """Two hidden numbers and ReLU: 1 for exactly one of two inputs."""
    for x in ([0, 0], [0, 1], [1, 0], [1, 1]):
        h = np.array([x[0] + x[1], x[0] + x[1] - 1])
        a = relu(h)
        print(f"x {x}   h {h}   ReLU {a}   y = {a[0]} - 2 * {a[1]} = {a[0] - 2 * a[1]}")


def relu_forward():
    return block(f"x &= {vector(X)}", f"y &= {vector(relu(X))}")


def relu_back():
    return block(f"dy &= {vector(DY)}", f"dx &= {vector(relu_backward(DY, X))}")


def gelu_at_one():
    u = math.sqrt(2 / math.pi) * 1.044715
    t = math.tanh(u)
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715)
    left, right = (1 + t) / 2, (1 - t**2) / 2 * du
    return block(
        rf"u &= \sqrt{{2/\pi}} \cdot (1 + 0.044715) = {number(u)}",
        rf"t &= \tanh u = {number(t)}",
        rf"y &= 1 \cdot (1 + t) / 2 = {number(left)}",
        rf"u' &= \sqrt{{2/\pi}} \cdot (1 + 3 \cdot 0.044715) = {number(du)}",
        r"y' &= (1 + t)/2 + 1 \cdot (1 - t^2)/2 \cdot u'",
        rf"&= {number(left)} + {number(right)} = {number(left + right)}",
    )


def slopes_by_differences():
    """All four, at three places: the slope by its formula, and by differences."""
    pairs = {
        "ReLU": (relu, relu_backward),
        "ReLU^2": (relu2, relu2_backward),
        "SiLU": (silu, silu_backward),
        "GELU": (gelu, gelu_backward),
    }
    x, h = np.array([-1.5, 0.3, 2.0]), 1e-5
    for name, (f, backward) in pairs.items():
        by_hand = backward(np.ones(3), x)
        by_differences = (f(x + h) - f(x - h)) / (2 * h)
        print(f"{name:7} by hand {rounded_row(by_hand)}   by differences {rounded_row(by_differences)}")


def rounded_row(values) -> str:
    return " ".join(f"{value + 0.0:7.4f}" for value in np.round(values, 4))


def gate():
    """A gate g and what it lets through, u; forward, and back with dy = 1."""
    g, u = np.array([-2.0, 0.0, 2.0]), np.array([5.0, 5.0, 5.0])
    y = silu(g) * u
    du, dg = silu(g), silu_backward(u, g)
    print(f"gate g     {rounded_row(g)}\nu          {rounded_row(u)}\ny          {rounded_row(y)}")
    print(f"du         {rounded_row(du)}\ndg         {rounded_row(dg)}")


def curves():
    """Above, four activations over x; below, their slopes. ReLU's slope jumps from 0 to 1, the others' are unbroken."""
    x = np.linspace(-3, 3, 121)
    ones = np.ones_like(x)
    figure, (above, below) = new_figure(2, 1, height=5.6, sharex=True)
    lines = (
        ("ReLU", relu, relu_backward, BLUE, "-"),
        ("GELU", gelu, gelu_backward, ORANGE, "--"),
        ("SiLU", silu, silu_backward, GREEN, "-."),
        ("ReLU²", relu2, relu2_backward, PURPLE, ":"),
    )
    for name, f, backward, colour, style in lines:
        above.plot(x, f(x), style, color=colour, label=name)
        slope = backward(ones, x)
        if name == "ReLU":
            slope[x == 0] = np.nan  # it jumps: no line there
        below.plot(x, slope, style, color=colour)
    above.set(ylabel="y", ylim=(-0.5, 4))
    below.set(xlabel="x", ylabel="slope", ylim=(-0.5, 4))
    above.legend(loc="upper left")
    return figure
