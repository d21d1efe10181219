"""Chapter 9: AdamW by hand, what its corrections are for, clipping, the schedule, and Muon on a small matrix."""

import math

import numpy as np
from book.drawing import BLUE, GREEN, GREY, ORANGE, new_figure
from book.formulas import block, matrix, number, products

from nanograd.reference.adamw import adamw, clip_gradients, learning_rate
from nanograd.reference.muon import nearly_orthogonal

P, LR, DECAY = 1.0, 0.1, 0.1
GRADIENTS = 2.0, 1.0
BETA1, BETA2 = 0.9, 0.95
COMMON = np.array([[10.0, 10.0], [10.0, 10.0]])
RARE = np.array([[0.1, -0.1], [-0.1, 0.1]])


def two_steps() -> list[dict]:
    """The numbers of both steps of the pencil example, and the same from the reference."""
    p = np.array([[P]])  # a matrix, so that it decays
    m = v = np.zeros((1, 1))
    steps = []
    for t, g in enumerate(GRADIENTS, 1):
        old = {"p": p.item(), "m": m.item(), "v": v.item()}
        p, m, v = adamw(p, np.array([[g]]), m, v, t, LR, (BETA1, BETA2), weight_decay=DECAY)
        mhat, vhat = m.item() / (1 - BETA1**t), v.item() / (1 - BETA2**t)
        steps.append(old | {"g": g, "t": t, "m1": m.item(), "v1": v.item(), "mhat": mhat, "vhat": vhat, "p1": p.item()})
    return steps


def written(step: dict) -> str:
    n = {name: number(value) for name, value in step.items()}
    ratio = step["mhat"] / math.sqrt(step["vhat"])
    return block(
        rf"m &= 0.9 \cdot {n['m']} + 0.1 \cdot {n['g']} = {n['m1']}",
        rf"v &= 0.95 \cdot {n['v']} + 0.05 \cdot {n['g']}^2 = {n['v1']}",
        rf"\hat m &= {n['m1']} / (1 - 0.9^{n['t']}) = {n['mhat']}",
        rf"\hat v &= {n['v1']} / (1 - 0.95^{n['t']}) = {n['vhat']}",
        rf"\hat m / \sqrt{{\hat v}} &= {number(ratio)}",
        rf"p &= {n['p']} - 0.1 \cdot 0.1 \cdot {n['p']}",
        rf"&\quad - 0.1 \cdot {number(ratio)} = {n['p1']}",
    )


def first_step():
    return written(two_steps()[0])


def second_step():
    return written(two_steps()[1])


def any_size():
    """The first step of gradients of very different sizes, at a rate of 0.001."""
    for g in (1000.0, 1.0, 0.001):
        p, _, _ = adamw(np.zeros(1), np.array([g]), np.zeros(1), np.zeros(1), 1, 0.001)
        print(f"gradient {g:8g}: SGD moves by {0.001 * g:8g}, AdamW by {-p[0]:.6f}")


def clip_by_hand():
    norm = math.hypot(3, 4)
    return block(
        rf"\text{{norm}} &= \sqrt{{3^2 + 4^2}} = {number(norm)}",
        rf"(3, 4) \cdot 1/{number(norm)} &= ({number(3 / norm)}, {number(4 / norm)})",
    )


def clip_wrongly():
    """Each gradient by itself, each number by itself, and all together."""
    g = {"a": np.array([3.0]), "b": np.array([4.0])}
    together = {name: np.round(x, 3).tolist() for name, x in clip_gradients(g, 1.0)[0].items()}
    alone = {name: np.round(clip_gradients({name: x}, 1.0)[0][name], 3).tolist() for name, x in g.items()}
    print("all together   ", together)
    print("each by itself ", alone)


def ratios(beta2: float, corrected: bool, n: int = 60) -> np.ndarray:
    """What AdamW multiplies the rate by, for a gradient that is always the same."""
    t = np.arange(1, n + 1)
    m, v = 1 - BETA1**t, 1 - beta2**t
    return np.ones(n) if corrected else m / np.sqrt(v)


def correction():
    """Three curves over 60 steps: 1 with both corrections; without them it begins at 3.2 for beta2 = 0.999, and at 0.45
    for 0.95."""
    figure, axes = new_figure()
    t = np.arange(1, 61)
    axes.plot(t, ratios(0.999, False), color=ORANGE, label="uncorrected, beta2 = 0.999")
    axes.plot(t, ratios(0.95, False), color=GREEN, label="uncorrected, beta2 = 0.95")
    axes.plot(t, ratios(0.95, True), color=BLUE, label="corrected, any beta2")
    axes.set(xlabel="step", ylabel="step / rate", ylim=(0, 9.5))
    axes.legend(loc="upper right")
    return figure


def valley(name: str, steps: int = 34) -> np.ndarray:
    """The way of an optimiser down a valley, loss = (x^2 + 30 y^2) / 2, from (-4, 1)."""
    p, m, v = np.array([-4.0, 1.0]), np.zeros(2), np.zeros(2)
    way = [p]
    for t in range(1, steps + 1):
        g = np.array([1.0, 30.0]) * p
        if name == "SGD":
            p = p - 0.06 * g
        else:
            p, m, v = adamw(p, g, m, v, t, 0.2)
        way.append(p)
    return np.array(way)


def ways():
    """A long narrow valley seen from above: SGD goes to and fro across it, AdamW along it."""
    figure, axes = new_figure()
    x, y = np.meshgrid(np.linspace(-4.6, 1.4, 61), np.linspace(-1.5, 1.5, 41))
    axes.contour(x, y, (x**2 + 30 * y**2) / 2, levels=[0.3, 1, 3, 6, 10, 15, 21], colors=GREY, linewidths=0.7)
    for name, colour in (("SGD", ORANGE), ("AdamW", BLUE)):
        way = valley(name)
        axes.plot(*way.T, "o-", color=colour, markersize=3, linewidth=1.3, label=name)
    axes.plot([0], [0], "*", color=GREEN, markersize=12)
    axes.set(xlabel="a parameter with a small slope", ylabel="one with a large slope")
    axes.legend(loc="upper right")
    return figure


def decoupled():
    """Two weights of 1, one with large gradients and one with small ones: 1000 steps of both kinds of decay."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((1000, 1, 2)) * np.array([10.0, 0.1])
    for name, inside in (("in the gradient (Adam with L2)", True), ("apart from it (AdamW)", False)):
        p, m, v = np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 2))
        pure = np.ones((1, 2))  # the same steps without decay
        pm, pv = m, v
        for t, g in enumerate(gradients, 1):
            grad = g + 0.5 * p if inside else g
            p, m, v = adamw(p, grad, m, v, t, 1e-3, weight_decay=0.0 if inside else 0.5)
            pure, pm, pv = adamw(pure, g, pm, pv, t, 1e-3, weight_decay=0.0)
        print(f"{name:31} shrinks them by {pure[0, 0] - p[0, 0]:.2f} and {pure[0, 1] - p[0, 1]:.2f}")


def schedule():
    """A line up for 100 steps, then half a cosine down to a tenth of the highest rate."""
    figure, axes = new_figure(height=2.8)
    axes.plot([learning_rate(step, 1e-3, 1e-4, 100, 1000) for step in range(1000)], color=BLUE)
    axes.annotate("warmup", (60, 0.0005), xytext=(110, 0.0003), color=GREY)
    axes.annotate("cosine", (600, 0.0007), color=GREY)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, 1.08e-3))
    return figure


def rates():
    """Two steps of warmup, then four of the cosine."""
    print(", ".join(f"{learning_rate(step, 1.0, 0.1, 2, 6):.3f}" for step in range(6)))


def gradient_matrix():
    return block(rf"G &= {matrix(COMMON)} + {matrix(RARE)}", rf"&= {matrix(COMMON + RARE)}")


def both_steps():
    """The two stretches of a gradient, of AdamW's first step and of Muon's."""
    G = COMMON + RARE
    p, _, _ = adamw(np.zeros((2, 2)), G, np.zeros((2, 2)), np.zeros((2, 2)), 1, 1.0)
    for name, step in (("gradient", G), ("AdamW's step", -p), ("Muon's step", nearly_orthogonal(G))):
        s = np.linalg.svd(step, compute_uv=False)
        print(f"{name:13} {(np.round(step, 2) + 0.0).tolist()!s:32} stretches by {s[0]:5.2f} and {s[1]:.2f}")


def by_hand():
    s = 0.1
    terms = products([3.4445, -4.7750, 2.0315], [s, s**3, s**5], 5)
    first, _, last = terms.rpartition(" + ")
    return block(f"& {first}", f"& + {last} = {number(3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5)}")


def polynomial():
    """Four stretches under the polynomial, five times."""
    s = np.array([0.9, 0.3, 0.1, 0.02])
    for step in range(6):
        print(f"after {step}: {' '.join(f'{value:6.3f}' for value in s)}")
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
