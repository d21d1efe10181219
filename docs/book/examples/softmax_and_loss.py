"""Chapter 5: scores to probabilities, and how surprised they are."""

import math
from fractions import Fraction

import numpy as np
from book.drawing import BLUE, GREY, INK, ORANGE, new_figure
from book.formulas import block, matrix, number, vector

from nanograd.reference.cross_entropy import cross_entropy, cross_entropy_backward
from nanograd.reference.softmax import softmax, softmax_backward

S = np.log([1.0, 2.0, 5.0])
Y = 1  # the second of three
DP = np.array([1.0, 0.0, 2.0])
V = 200


def eighths(values) -> str:
    """Numbers that are so many 64ths, as fractions."""
    return "(" + ", ".join(fraction(value) for value in values) + ")"


def fraction(value) -> str:
    return str(Fraction(round(64 * value), 64))


def forward():
    e, p = np.exp(S), softmax(S)
    return block(
        rf"s &= {vector(S)}",
        rf"e^s &= {vector(e)} \qquad z = {number(e.sum())}",
        rf"p &= e^s / z = {eighths(p)}",
    )


def loss():
    return block(
        rf"L = -\log p_2 = -\log ({fraction(softmax(S)[Y])}) = {number(cross_entropy(S[None], np.array([Y])))}",
    )


def backward():
    ds = cross_entropy_backward(1.0, S[None], np.array([Y]))[0]
    return block(rf"ds &= p - (0, 1, 0) = {eighths(ds)}")


def softmax_back():
    p = softmax(S)
    total = fraction((p * DP).sum())
    ds = softmax_backward(DP, S)
    return block(
        rf"\textstyle\sum_i p_i \cdot dp_i &= 1/8 + 0 + 10/8 = {total}",
        *(rf"ds_{j + 1} &= {fraction(p[j])} \cdot ({number(DP[j])} - {total}) = {fraction(ds[j])}" for j in range(3)),
    )


def upstream():
    return f"$dp = {vector(DP)}$"


def jacobian():
    p = softmax(S)
    sixtyfourths = matrix(64 * (np.diag(p) - np.outer(p, p)))
    return block(rf"\frac{{\partial p_i}}{{\partial s_j}} = \frac{{1}}{{64}} {sixtyfourths}")


def check():
    """Both gradients again, by differences; and the short way against the long one, through p."""
    h, targets = 1e-5, np.array([Y])
    moves = h * np.eye(3)
    slopes = [(cross_entropy((S + m)[None], targets) - cross_entropy((S - m)[None], targets)) / (2 * h) for m in moves]
    short = cross_entropy_backward(1.0, S[None], targets)[0]
    dp = np.zeros(3)
    dp[Y] = -1 / softmax(S)[Y]  # the derivative of -log p_y
    print(f"p - onehot           {np.round(short, 4)}")
    print(f"by differences       {np.round(slopes, 4)}")
    print(f"softmax_backward(dp) {np.round(softmax_backward(dp, S), 4)}")


def step():
    """A step against the gradient, of the scores themselves."""
    s, targets = S.copy(), np.array([Y])
    for n in range(4):
        print(f"step {n}: p {np.round(softmax(s), 3)}, loss {cross_entropy(s[None], targets):.4f}")
        s -= cross_entropy_backward(1.0, s[None], targets)[0]


def ln_v():
    return number(math.log(V))


def perplexities():
    """Four models of a text, by the probability that they give to each next token."""
    for name, p in (("uniform over 200", 1 / V), ("one in ten", 0.1), ("one in two", 0.5), ("nearly certain", 0.99)):
        print(f"{name:17} loss {-math.log(p):6.4f}, perplexity {1 / p:6.2f}")


def overflow():
    """exp of a large score, as it is and with the largest score subtracted first."""
    s = np.array([1000.0, 1001.0, 999.0])
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(s)
        print("as it is:         exp", e, " softmax", e / e.sum())
    e = np.exp(s - s.max())
    print("less the largest: exp", np.round(e, 4), " softmax", np.round(e / e.sum(), 4))


def surprise():
    """A falling curve: the loss over the probability of the token that came; 5.3 at 1/200, 0 at 1."""
    p = np.linspace(0.003, 1, 300)
    figure, axes = new_figure()
    axes.plot(p, -np.log(p), color=BLUE)
    marks = ((1 / V, "knows nothing: $p$ = 1/200", (0.05, 5.2)), (0.25, "our example: $p$ = 1/4", (0.28, 1.5)))
    for at, text, place in marks:
        axes.plot([at], [-math.log(at)], "o", color=ORANGE)
        axes.annotate(text, place, color=ORANGE)
    axes.plot([1], [0], "o", color=ORANGE)
    axes.annotate("certain", (1, 0.3), ha="right", color=ORANGE)
    axes.set(xlabel="probability of the token that came", ylabel="loss = $-\\log p$", ylim=(-0.2, 6))
    return figure


def push():
    """Bars: the three probabilities, and below them the gradient. It is negative for the token that came alone."""
    p = softmax(S)
    ds = cross_entropy_backward(1.0, S[None], np.array([Y]))[0]
    figure, (above, below) = new_figure(2, 1, height=4.2, sharex=True)
    colours = [ORANGE if i == Y else BLUE for i in range(3)]
    above.bar(range(3), p, 0.6, color=colours)
    below.bar(range(3), ds, 0.6, color=colours)
    below.axhline(0, color=GREY, linewidth=1)
    above.annotate("this one came", (Y, p[Y] + 0.03), ha="center", color=ORANGE)
    for i in range(3):
        place = {"va": "bottom"} if ds[i] > 0 else {"va": "top"}
        below.annotate(fraction(ds[i]), (i, ds[i] + (0.04 if ds[i] > 0 else -0.06)), ha="center", **place)
    above.set(ylabel="$p$", ylim=(0, 0.8))
    below.set(ylabel="$ds$", ylim=(-1.1, 1))
    below.set_xticks(range(3), ["$s_1$", "$s_2$", "$s_3$"], color=INK)
    return figure
