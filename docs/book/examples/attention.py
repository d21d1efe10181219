"""Chapter 6: three positions, two channels, one head; then the scale, and heads."""

import math

import numpy as np
from book.drawing import BLUE, GREY, INK, ORANGE, new_figure
from book.formulas import block, factor, matrix, number, products, vector

from nanograd.reference.attention import attention, attention_backward, merge_heads, scores, split_heads
from nanograd.reference.softmax import softmax

WORDS = "the", "cat", "sat"
Q = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
K = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
DO = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
RANDOM_DO = np.array([[0.4, -1.0], [1.2, 0.5], [-0.7, 0.9]])
S = scores(Q, K)
P = softmax(S)
ROOT = math.sqrt(2)


def given():
    return block(rf"q = {matrix(Q)} \;\; k = {matrix(K)} \;\; v = {matrix(V)}")


def upstream():
    return f"$do_3 = {vector(DO[2])}$"


def score_line():
    """The scores of the third position."""
    raw = Q[2] @ K.T
    return block(
        *(rf"q_3 \cdot k_{j + 1} &= {products(Q[2], K[j])} = {number(raw[j])}" for j in range(3)),
        rf"S_3 &= {vector(raw)} / \sqrt 2 = {vector(S[2])}",
    )


def weights():
    e = np.exp(S[2])
    return block(
        rf"e^{{S_3}} &= {vector(e)} \qquad z = {number(e.sum())}",
        rf"P_3 &= e^{{S_3}} / z = {vector(P[2])}",
    )


def gathered():
    terms = [rf"{number(p)} \cdot {vector(v)}" for p, v in zip(P[2], V, strict=True)]
    *first, last = terms
    lines = [" + ".join(first), f"+ {last}", f"= {vector(P[2] @ V)}"]
    return block(f"o_3 = {{}} & {lines[0]}", *(f"& {line}" for line in lines[1:]))


def all_rows():
    """The weights of all three positions, a row each."""
    print("P")
    print(P)
    print("o = P v")
    print(attention(Q, K, V))


def backward_values():
    dP = DO @ V.T
    return block(
        rf"dv_1 &= P_{{31}} \cdot do_3 = {number(P[2, 0])} \cdot {vector(DO[2])} = {vector(P[2, 0] * DO[2])}",
        rf"dv_2 &= P_{{32}} \cdot do_3 = {vector(P[2, 1] * DO[2])}",
        rf"dv_3 &= P_{{33}} \cdot do_3 = {vector(P[2, 2] * DO[2])}",
        r"dP_3 &= (do_3 \cdot v_1, \; do_3 \cdot v_2, \; do_3 \cdot v_3)",
        rf"&= {vector(dP[2])}",
    )


def parts():
    """dP and dS of the third row, and their mean."""
    dP = DO[2] @ V.T
    mean = (P[2] * dP).sum()
    return dP, mean, P[2] * (dP - mean)


def backward_scores():
    dP, mean, dS = parts()
    return block(
        r"& \textstyle\sum_j P_{3j} \cdot dP_{3j}",
        rf"& = {products(P[2], dP)}",
        rf"& = {number(mean)}",
        *(
            rf"& dS_{{3{j + 1}}} = {number(P[2, j])} \cdot ({number(dP[j])} - {number(mean)}) = {number(dS[j])}"
            for j in range(3)
        ),
    )


def backward_queries():
    _, _, dS = parts()
    dq, dk, _ = attention_backward(DO, Q, K, V)
    factors, names = [factor(d) for d in dS], [f"dk_{j} = {{}} &" for j in (1, 2, 3)]
    terms = [rf"{d} \cdot {vector(k)}" for d, k in zip(factors, K, strict=True)]
    lines = []
    for name, d, x in zip(names, factors, dk, strict=True):
        lines += [rf"{name} {d} \cdot {vector(Q[2])} / \sqrt 2", rf"= {{}} & {vector(x)}"]
    return block(
        rf"dq_3 = ( & {terms[0]}",
        rf"& + {terms[1]}",
        rf"& + {terms[2]}) / \sqrt 2",
        rf"= {{}} & {vector(dq[2])}",
        *lines,
    )


def by_differences():
    """Every gradient again, with an upstream gradient at all positions, against differences."""
    h = 1e-5
    for name, x, dx in zip("qkv", (Q, K, V), attention_backward(RANDOM_DO, Q, K, V), strict=True):
        slopes = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[i] += h
            down[i] -= h
            losses = [
                (RANDOM_DO * attention(*(moved if a is x else a for a in (Q, K, V)))).sum() for moved in (up, down)
            ]
            slopes[i] = (losses[0] - losses[1]) / (2 * h)
        print(f"d{name} {np.round(dx, 4).tolist()}, differs by less than 1e-8: {np.abs(dx - slopes).max() < 1e-8}")


def future():
    """Change the last token's key and value: what was computed for the first two stays as it was."""
    k, v = K.copy(), V.copy()
    k[2], v[2] = (5.0, -3.0), (100.0, 100.0)
    print(attention(Q, k, v) - attention(Q, K, V))


def reshaped():
    """The (D, T) product is right but for its order; a reshape gives it the shape that was wanted, and no more."""
    dP = RANDOM_DO @ V.T
    dS = P * (dP - (P * dP).sum(-1, keepdims=True))
    print("dS^T q           ", np.round(dS.T @ Q / ROOT, 4).tolist())
    print("(q^T dS) reshaped", np.round((Q.T @ dS / ROOT).reshape(3, 2), 4).tolist())


def heads():
    """Two positions of four channels, cut into two heads of two: the right way, and a reshape."""
    x = np.array([[[11, 12, 13, 14], [21, 22, 23, 24]]])  # (B, T, C): the first digit is the position
    right, wrong = split_heads(x, 2), x.reshape(1, 2, 2, 2)
    print("split_heads: head 1", right[0, 0].tolist(), "head 2", right[0, 1].tolist())
    print("reshape:     head 1", wrong[0, 0].tolist(), "head 2", wrong[0, 1].tolist())
    print("merge_heads undoes the first:", (merge_heads(right) == x).all())


def map_of_weights():
    """A triangle of squares: the weights P of the example, the future left out."""
    figure, axes = new_figure(width=4.6, height=3.6)
    axes.imshow(np.ma.masked_where(P == 0, P), cmap="Blues", vmin=0, vmax=1.4)
    for i in range(3):
        for j in range(3):
            seen = j <= i
            text = f"{P[i, j]:.3f}" if seen else "future"
            axes.text(j, i, text, ha="center", va="center", color=INK if seen else GREY)
    axes.set_xticks(range(3), WORDS)
    axes.set_yticks(range(3), WORDS)
    axes.set(xlabel="looked at (key)", ylabel="looking (query)")
    axes.grid(False)
    axes.tick_params(length=0)
    return figure


def largest_weights(scaled: bool) -> list[float]:
    """For heads of several sizes: of 16 weights the largest, on average over 400 random queries and keys."""
    means = []
    for D in SIZES:
        rng = np.random.default_rng(D)
        q, k = rng.standard_normal((400, 1, D)), rng.standard_normal((400, 16, D))
        s = (q @ k.mT)[:, 0] / (math.sqrt(D) if scaled else 1)
        means.append(softmax(s).max(-1).mean())
    return means


SIZES = 1, 4, 16, 64, 256


def scale():
    """Without the root the largest weight grows towards 1 with the size of the head; with it, it stays."""
    figure, axes = new_figure()
    ticks = range(len(SIZES))
    axes.plot(ticks, largest_weights(False), "o-", color=ORANGE, label="scores $q \\cdot k$")
    axes.plot(ticks, largest_weights(True), "o-", color=BLUE, label="scores $q \\cdot k / \\sqrt{D}$")
    axes.axhline(1 / 16, color=GREY, linewidth=1, linestyle="--")
    axes.annotate("all 16 equal", (0, 1 / 16 + 0.02), color=GREY)
    axes.set_xticks(ticks, [str(size) for size in SIZES])
    axes.set(xlabel="channels of a head, D", ylabel="the largest of 16 weights", ylim=(0, 1.05))
    axes.legend(loc="center right")
    return figure
