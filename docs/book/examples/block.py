"""Chapter 7: a small MLP on a residual stream, and what residual connections do for gradients in a deep stack."""

import numpy as np
from book.drawing import BLUE, GREY, INK, ORANGE, new_figure
from book.formulas import block, matrix, number, products, vector
from matplotlib.patches import Circle, FancyBboxPatch

from nanograd.reference.mlp import mlp, mlp_backward
from nanograd.reference.model import block as reference_block
from nanograd.reference.model import block_backward, blocks, new_parameters
from nanograd.reference.normalization import layernorm, layernorm_backward

X = np.array([1.0, 2.0])
W1 = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, -1.0]])
W2 = np.array([[1.0, 0.0], [0.0, -1.0], [2.0, 1.0]])
B1, B2 = np.zeros(3), np.zeros(2)
DY = np.array([2.0, -1.0])
H = X @ W1
A = np.maximum(H, 0)
DA = DY @ W2.T
DH = DA * (H > 0)
BRANCH = mlp_backward(DY, X, W1, B1, W2, B2)[0]
DEPTH = 24


def given():
    return block(rf"x &= {vector(X)} \qquad W_1 = {matrix(W1)}", rf"W_2 &= {matrix(W2)}")


def forward():
    y = mlp(X, W1, B1, W2, B2)
    return block(
        rf"h &= x W_1 = {vector(H)}",
        rf"a &= \max(h, 0) = {vector(A)}",
        rf"f(x) &= a W_2 = {vector(y)}",
        rf"y &= x + f(x) = {vector(X)} + {vector(y)} = {vector(X + y)}",
    )


def upstream():
    return f"$dy = {vector(DY)}$"


def backward():
    return block(
        *(rf"da_{j + 1} &= {products(DY, W2[j])} = {number(DA[j])}" for j in range(3)),
        rf"dh &= {vector(DH)}",
        *(rf"dx_{i + 1} &= {number(DY[i])} + ({products(DH, W1[i])}) = {number(DY[i] + BRANCH[i])}" for i in range(2)),
    )


def weights():
    _, dW1, _, dW2, _ = mlp_backward(DY, X, W1, B1, W2, B2)
    return block(rf"dW_1 &= x^T dh = {matrix(dW1)}", rf"dW_2 &= a^T dy = {matrix(dW2)}")


def by_differences():
    """dx again, by differences of the loss dy . y."""
    h = 1e-5
    for i in range(2):
        up, down = X.copy(), X.copy()
        up[i] += h
        down[i] -= h
        losses = [DY @ (x + mlp(x, W1, B1, W2, B2)) for x in (up, down)]
        slope = (losses[0] - losses[1]) / (2 * h)
        print(f"dx_{i + 1}: {DY[i] + BRANCH[i]:.4f} by hand, {slope:.4f} by differences")


def parameters():
    """Where the parameters of a block with 128 channels are."""
    (p,) = blocks(new_parameters(V=1, T=1, C=128, n_layer=1, rng=np.random.default_rng(0)))
    for part in "ln_1", "attn", "ln_2", "mlp":
        print(f"{part:5} {sum(array.size for name, array in p.items() if name.startswith(part)):7,}")
    print(f"all   {sum(array.size for array in p.values()):7,}")


def wrong_ways():
    """x + f(ln(x)), four channels, f a product with a matrix: three backward passes, and what differences say."""
    rng = np.random.default_rng(3)
    x, dy, W = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal((4, 4))
    gain, bias = np.ones(4), np.zeros(4)
    through = layernorm_backward(dy @ W.T, x, gain, bias)[0]
    slopes, h = np.zeros(4), 1e-5
    for i in range(4):
        moves = [x + sign * h * np.eye(4)[i] for sign in (1, -1)]
        up, down = (dy @ (moved + layernorm(moved, gain, bias) @ W) for moved in moves)
        slopes[i] = (up - down) / (2 * h)
    print(f"by differences               {np.round(slopes, 3)}")
    print(f"dy + ln_backward(branch)     {np.round(dy + through, 3)}")
    print(f"ln_backward(dy + branch)     {np.round(layernorm_backward(dy + dy @ W.T, x, gain, bias)[0], 3)}")
    print(f"ln_backward(branch)          {np.round(through, 3)}")


def gradient_norms(residual: bool, std: float) -> list[float]:
    """The gradient's size before each of 24 MLPs in a row, from the last to the first, over that behind them all."""
    rng = np.random.default_rng(0)
    C, x = 32, rng.standard_normal((64, 32))
    layers = [(std * rng.standard_normal((C, 4 * C)), std * rng.standard_normal((4 * C, C))) for _ in range(DEPTH)]
    inputs, bias, inner = [], np.zeros(C), np.zeros(4 * C)
    for V1, V2 in layers:
        inputs.append(x)
        x = residual * x + mlp(x, V1, inner, V2, bias)
    dy = rng.standard_normal(x.shape)
    whole, sizes = np.sqrt((dy**2).sum()), []
    for x, (V1, V2) in zip(reversed(inputs), reversed(layers), strict=True):
        dy = residual * dy + mlp_backward(dy, x, V1, inner, V2, bias)[0]
        sizes.append(np.sqrt((dy**2).sum()) / whole)
    return sizes


def depth():
    """Three curves from the last layer back to the first: with residuals the gradient keeps its size, without them it
    vanishes or explodes."""
    figure, axes = new_figure()
    layers = range(DEPTH, 0, -1)
    settings = (
        ("f(x) alone, weights of size 0.2", False, 0.2, GREY),
        ("x + f(x), weights of size 0.1", True, 0.1, BLUE),
        ("f(x) alone, weights of size 0.1", False, 0.1, ORANGE),
    )
    for label, residual, std, colour in settings:
        axes.semilogy(layers, gradient_norms(residual, std), "o-", color=colour, markersize=4, label=label)
    axes.invert_xaxis()
    axes.set(xlabel="layer, from the last back to the first", ylabel="size of the gradient")
    axes.set_xticks([24, 18, 12, 6, 1])
    axes.legend(loc="lower left")
    return figure


def stream():
    """A line from x to y; two branches leave it upwards and are added to it again."""
    figure, axes = new_figure(width=6.6, height=2.4)
    axes.set(xlim=(-0.2, 11.8), ylim=(-1.5, 2.1))
    axes.axis("off")
    axes.plot([0, 11.7], [0, 0], color=BLUE, linewidth=3)
    for start, names in ((0.7, ("LayerNorm", "attention")), (6.6, ("LayerNorm", "MLP"))):
        end = start + 4.3
        axes.plot([start, start, end, end], [0, 1.5, 1.5, 0.3], color=INK, linewidth=1.5, zorder=0)
        for name, middle in zip(names, (start + 1.05, start + 3.2), strict=True):
            box = FancyBboxPatch(
                (middle - 0.85, 1.2), 1.7, 0.6, "round,pad=0.08", zorder=1, facecolor="#EAF2F8", edgecolor=GREY
            )
            axes.add_patch(box)
            axes.text(middle, 1.5, name, ha="center", va="center", fontsize=10.5)
        axes.add_patch(Circle((end, 0), 0.3, facecolor="white", edgecolor=BLUE, linewidth=2, zorder=3))
        axes.text(end, 0, "+", ha="center", va="center", zorder=4, fontsize=14)
    for place, name in ((0.1, "x"), (5.8, "middle"), (11.5, "y")):
        axes.text(place, 0.25, name, ha="center", va="bottom")
    axes.annotate("", (0.2, -0.7), (11.4, -0.7), arrowprops={"arrowstyle": "->", "color": ORANGE, "linewidth": 2})
    told = "gradients go back along both paths, and add up at each fork"
    axes.text(5.8, -1.1, told, color=ORANGE, ha="center", va="center", fontsize=10.5)
    return figure


def whole_block():
    """A whole block, with attention, LayerNorms and random parameters, against differences in a random direction."""
    rng = np.random.default_rng(1)
    (p,) = blocks(new_parameters(V=1, T=1, C=8, n_layer=1, rng=rng))
    p = {name: value + 0.3 * rng.standard_normal(value.shape) for name, value in p.items()}
    x, dy = rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 5, 8))
    dx, grads = block_backward(dy, x, p, n_head=2)
    for name in ("x", "ln_1.weight", "attn.c_attn.weight", "mlp.c_fc.weight", "mlp.c_proj.bias"):
        gradient, value = (dx, x) if name == "x" else (grads[name], p[name])
        move, h, losses = rng.standard_normal(value.shape), 1e-5, []
        for sign in (1, -1):
            moved = value + sign * h * move
            y = reference_block(moved, p, 2) if name == "x" else reference_block(x, p | {name: moved}, 2)
            losses.append((dy * y).sum())
        slope = (losses[0] - losses[1]) / (2 * h)
        print(f"{name:19} by hand {(gradient * move).sum():9.4f}, by differences {slope:9.4f}")
