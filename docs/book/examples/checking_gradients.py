"""Chapter 12: derivatives without a formula, and tests that let wrong gradients pass."""

import math
import tomllib
from pathlib import Path

import numpy as np
from book.drawing import BLUE, GREEN, GREY, ORANGE, new_figure
from book.formulas import block, markdown_table, number, vector

from exercises.catalog import exercise, module_of
from nanograd import Device, Layer
from nanograd.gradcheck import check_layer, check_symmetry
from nanograd.gradcheck.slopes import taylor_remainders
from nanograd.layers import LayerNorm, Linear
from nanograd.reference.activations import gelu, gelu_backward, relu
from nanograd.reference.adamw import adamw
from nanograd.reference.attention import merge_heads, queries_keys_values, scores, self_attention_backward, split_heads
from nanograd.reference.embedding import embedding_backward
from nanograd.reference.linear import linear_backward
from nanograd.reference.normalization import layernorm_backward
from nanograd.reference.softmax import softmax, softmax_backward

ROOT = Path(__file__).resolve().parents[3]
H = 0.1  # the step of the pencil example


def cube(x):
    return x * x * x


def pencil(lang):
    names = {"en": ("one side", "both sides", "complex step"), "zh": ("单边差分", "中心差分", "复数步长")}[lang]
    one = (cube(2 + H) - cube(2)) / H
    both = (cube(2 + H) - cube(2 - H)) / (2 * H)
    turned = cube(2 + 1j * H)
    return block(
        rf"&\text{{{names[0]}:}}\ (f(2.1) - f(2)) / 0.1",
        rf"&\quad = ({number(cube(2.1))} - 8) / 0.1 = {number(one)}",
        rf"&\text{{{names[1]}:}}\ (f(2.1) - f(1.9)) / 0.2",
        rf"&\quad = ({number(cube(2.1))} - {number(cube(1.9))}) / 0.2 = {number(both)}",
        rf"&\text{{{names[2]}:}}\ \operatorname{{Im}} f(2 + 0.1 i) / 0.1",
        rf"&\quad = {number(turned.imag)} / 0.1 = {number(turned.imag / H)}",
    )


# Checks that need no derivative of the loss


def remainders():
    """Taylor's remainder of a LayerNorm: with the square of the step if the gradient is right, else with the step."""
    layer = LayerNorm(4, device=Device("numpy", dtype="float64"))
    found = taylor_remainders(layer, np.random.default_rng(0).standard_normal((2, 4)))
    figure, axes = new_figure(height=3.6)
    for name, values, colour in (("right", found.right, BLUE), ("without mean(g)", found.wrong, ORANGE)):
        axes.plot(found.steps, np.maximum(values, found.floor / 10), color=colour, label=name)
    axes.axhline(found.floor, color=GREY, linestyle=":", label="rounding of f")
    axes.set(xlabel="step h", ylabel="remainder", xscale="log", yscale="log")
    axes.legend(loc="upper left")
    return figure


def symmetry():
    class Transposed(Linear):
        def backward(self, dy):
            super().backward(dy)
            return dy @ self.weight.value  # W in place of its transpose

    device, x = Device("numpy", dtype="float64"), np.random.default_rng(0).standard_normal((3, 4))
    for kind in (Linear, Transposed):
        report = check_symmetry(kind(4, 4, device=device), x)
        print(f"{kind.__name__:10} symmetric: {report.ok}")


# The ways over the step


def relative_errors(h):
    """Errors of four ways to the derivative of GELU at 0.7."""
    x = 0.7
    exact = gelu_backward(1.0, x)
    near, far = gelu(x + h) - gelu(x - h), gelu(x + 2 * h) - gelu(x - 2 * h)
    ways = {
        "one side": (gelu(x + h) - gelu(x)) / h,
        "both sides": near / (2 * h),
        "fourth order": (8 * near - far) / (12 * h),
        "complex step": gelu(x + 1j * h).imag / h,
    }
    return {name: abs(value - exact) / exact for name, value in ways.items()}


def errors():
    """Error over the step h, logarithmic: differences get better, then worse; the complex step only better."""
    steps = 10.0 ** np.arange(-15, -0.4, 0.25)
    found = [relative_errors(h) for h in steps]
    figure, axes = new_figure(height=3.8)
    for name, colour in zip(found[0], (GREY, BLUE, GREEN, ORANGE), strict=True):
        dashes = {"linestyle": "--"} if name == "complex step" else {}  # it covers "both sides" where h is large
        axes.plot(steps, [max(errors[name], 1e-17) for errors in found], color=colour, label=name, **dashes)
    axes.set(xlabel="step h", ylabel="relative error", xscale="log", yscale="log", ylim=(1e-17, 10))
    axes.legend(loc="upper center", ncols=2)
    return figure


def best_errors(lang):
    head = {"en": ("way", "best error, about", "at a step of about"), "zh": ("方法", "最小误差约为", "此时步长约为")}
    names = {
        1: {"en": "one side", "zh": "单边差分"},
        2: {"en": "both sides", "zh": "中心差分"},
        4: {"en": "fourth order", "zh": "四阶差分"},
    }
    rows = []
    for order, name in names.items():
        step = 2.0 ** (-52 / (order + 1))  # eps ** (1 / (order + 1))
        rows.append((name[lang], *(f"$10^{{{math.log10(value):.0f}}}$" for value in (step**order, step))))
    return markdown_table(head[lang], "lrr", rows)


def kink():
    """The slope of relu at 0.0001, where it is 1, by differences on both sides."""
    x = 0.0001
    for h in (0.001, 0.0005, 0.00005):
        print(f"h = {h:7}:  {(relu(x + h) - relu(x - h)) / (2 * h):.2f}")


# A layer of one's own, right and wrong


def own_layer():
    class Swish(Layer):
        def forward(self, x):
            s = 1 / (1 + np.exp(-x))
            self.remember(x, s)
            return x * s

        def backward(self, dy):
            x, s = self.recall()
            return dy * (s + x * s * (1 - s))

    class Wrong(Swish):
        def backward(self, dy):
            _, s = self.recall()
            return dy * s

    x = np.linspace(-1, 1, 6).reshape(2, 3)
    print("Swish ok:", check_layer(Swish(), x).ok)
    print(check_layer(Wrong(), x))


# Real mistakes


def attention_with_reshape(do, q, k, v):
    """attention_backward, but for dk: q^T dS has the shape (D, T), and is given that of k."""
    P = softmax(scores(q, k))
    dS = softmax_backward(do @ v.mT, scores(q, k))
    dq = dS @ k / math.sqrt(q.shape[-1])
    dk = (q.mT @ dS).reshape(k.shape) / math.sqrt(q.shape[-1])
    return dq, dk, P.mT @ do


def attention_without_keys(do, q, k, v):
    """attention_backward, with 0 for dk."""
    dq, dk, dv = attention_with_reshape(do, q, k, v)
    return dq, 0 * dk, dv


def wrong_self_attention(dy, x, W_qkv, W_proj, n_head, backward):
    q, k, v = queries_keys_values(x, W_qkv, n_head)
    do = split_heads(dy @ W_proj.T, n_head)
    dqkv = np.concatenate([merge_heads(d) for d in backward(do, q, k, v)], axis=-1)
    dx, dW_qkv, _ = linear_backward(dqkv, x, W_qkv)
    return dx, dW_qkv


def relative(wrong, right) -> float:
    return float(np.abs(wrong - right).max() / np.abs(right).max())


def absolute(wrong, right) -> float:
    return float(np.abs(wrong - right).max())


def reshaped_keys(scale, backward=attention_with_reshape):
    """{what: (wrong, right)} of attention with weights of this size: dx, and the gradient of the keys' weights."""
    rng = np.random.default_rng(0)
    B, T, C, n_head = 2, 8, 16, 2
    x, dy = rng.standard_normal((2, B, T, C))
    W_qkv, W_proj = scale * rng.standard_normal((C, 3 * C)), scale * rng.standard_normal((C, C))
    right = self_attention_backward(dy, x, W_qkv, W_proj, 0.0, n_head)[:2]
    wrong = wrong_self_attention(dy, x, W_qkv, W_proj, n_head, backward)
    keys = slice(C, 2 * C)
    return {"dx": (wrong[0], right[0]), "dW_k": (wrong[1][:, keys], right[1][:, keys])}


def tiny_weights(lang):
    head = {
        "en": ("size of the weights", "largest dW_k", "error of dW_k", "error of dx", "dW_k, relative error"),
        "zh": ("权重大小", "dW_k 的最大值", "dW_k 的误差", "dx 的误差", "dW_k 的相对误差"),
    }
    rows = []
    for scale in (0.02, 0.1, 0.5):
        found = reshaped_keys(scale)
        wrong, right = found["dW_k"]
        numbers = np.abs(right).max(), absolute(wrong, right), absolute(*found["dx"])
        rows.append((scale, *map(short, numbers), f"{relative(wrong, right):.2f}"))
    return markdown_table(head[lang], "rrrrr", rows)


def short(value) -> str:
    """Two digits, without an exponent where that is short."""
    if value < 0.01:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def no_keys():
    return short(absolute(*reshaped_keys(0.02, attention_without_keys)["dx"]))


def without_means():
    """LayerNorm's dx as rstd * g, and the gradients that a test looked at."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 4, 6))
    weight, bias = rng.standard_normal((2, 6))
    dx, dweight, dbias = layernorm_backward(dy, x, weight, bias)
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return {"dx": (rstd * dy * weight, dx), "parameters": (np.stack([dweight, dbias]),) * 2}


def written_over(ids):
    """dweight of a table of 4 rows by `dweight[ids] += dy`."""
    dy = np.random.default_rng(0).standard_normal((len(ids), 2))
    weight = np.zeros((4, 2))
    wrong = np.zeros_like(weight)
    wrong[ids] += dy
    return wrong, embedding_backward(dy, np.array(ids), weight)


def repeated_ids():
    dweight = np.zeros(4)
    dy = np.array([1.0, 10.0, 100.0])
    ids = np.array([2, 0, 2])
    dweight[ids] += dy
    right = np.zeros(4)
    np.add.at(right, ids, dy)
    print("dweight[ids] += dy: ", vector(dweight))
    print("added up:           ", vector(right))


def tied():
    """A table that is read at the bottom and is the head at the top: both gradients, and the first alone."""
    rng = np.random.default_rng(0)
    ids, weight, dlogits = rng.integers(0, 5, 6), rng.standard_normal((5, 3)), rng.standard_normal((6, 5))
    x = weight[ids]
    dx, dhead, _ = linear_backward(dlogits, x, weight.T)
    bottom = embedding_backward(dx, ids, weight)
    return bottom, bottom + dhead.T


def dropped_values(p):
    """dv of o = (P * m) v, with the mask m left out."""
    rng = np.random.default_rng(0)
    q, k, do = rng.standard_normal((3, 6, 4))
    P = softmax(scores(q, k))
    mask = (rng.random(P.shape) >= p) / (1 - p)
    return P.T @ do, (P * mask).T @ do


def too_large():
    """A gradient that is N = 160 times too large: its direction, and AdamW's first step from both."""
    rng = np.random.default_rng(0)
    g, p = rng.standard_normal((2, 4, 5))
    wrong = 160 * g
    cosine = (g * wrong).sum() / np.linalg.norm(g) / np.linalg.norm(wrong)
    zero = np.zeros_like(p)
    steps = [adamw(p, gradient, zero, zero, 1, lr=1e-3)[0] for gradient in (g, wrong)]
    return wrong, g, cosine, absolute(*steps)


NAMES = {
    "reshape": ("dK with a reshape", "dK 用了 reshape"),
    "means": ("LayerNorm without its means", "LayerNorm 漏了两个均值"),
    "ids": ("repeated ids", "重复的词元编号"),
    "tied": ("the tied half", "绑定的那一半"),
    "dropout": ("dropout in dV", "dV 漏了 dropout"),
    "scale": ("scale N times too large", "大了 N 倍"),
}
TESTS = {
    "reshape": ("dx alone, weights of 0.02, absolute", "只看 dx，权重 0.02，绝对误差"),
    "means": ("parameters alone", "只看参数"),
    "ids": ("every id once", "每个编号只出现一次"),
    "tied": ("each layer alone", "每层单独测"),
    "dropout": ("dropout 0", "dropout 取 0"),
    "scale": ("the direction (cosine)", "只看方向（余弦）"),
}


def seen_by_tests():
    """{mistake: (error that its test sees, relative error of the gradient)}"""
    wrong, right, cosine, _ = too_large()
    return {
        "reshape": (absolute(*reshaped_keys(0.02)["dx"]), relative(*reshaped_keys(0.5)["dW_k"])),
        "means": (relative(*without_means()["parameters"]), relative(*without_means()["dx"])),
        "ids": (relative(*written_over([2, 0, 1])), relative(*written_over([2, 0, 2]))),
        "tied": (0.0, relative(*tied())),
        "dropout": (relative(*dropped_values(0.0)), relative(*dropped_values(0.5))),
        "scale": (abs(1 - cosine), relative(wrong, right)),
    }


def table(lang):
    head = {
        "en": ("mistake", "a test that passes", "error it sees", "a careful test: relative error"),
        "zh": ("错误", "能通过的测试", "它看到的误差", "认真的测试：相对误差"),
    }
    of, rows = ("en", "zh").index(lang), []
    for name, (seen, true) in seen_by_tests().items():
        rows.append((NAMES[name][of], TESTS[name][of], "0" if seen < 1e-12 else short(seen), short(true)))
    return markdown_table(head[lang], "llrr", rows)


def adam_hides():
    *_, difference = too_large()
    digits, _, exponent = f"{difference:.0e}".partition("e")
    return rf"${digits} \cdot 10^{{{int(exponent)}}}$"


# dy = 1


def softmax_pencil():
    p = softmax(np.log([1.0, 3.0]))
    return block(
        rf"p &= {vector(p)}",
        r"dy &= (1, 1): \quad \textstyle\sum_i p_i dy_i = 1",
        r"ds &= (0.25 \cdot (1 - 1), \; 0.75 \cdot (1 - 1))",
        rf"&= {vector(softmax_backward(np.ones(2), np.log([1.0, 3.0])))}",
        r"dy &= (1, -1): \quad \textstyle\sum_i p_i dy_i = -0.5",
        r"ds &= (0.25 \cdot 1.5, \; 0.75 \cdot (-0.5))",
        rf"&= {vector(softmax_backward(np.array([1.0, -1.0]), np.log([1.0, 3.0])))}",
    )


def layernorm_gradients(source, careful):
    """All gradients of the exercise's LayerNorm, of this source, in a careless or a careful test."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4))
    layer = module_of(source, "layernorm").LayerNorm(4)
    if careful:
        layer.weight.value += rng.standard_normal(4)
        layer.bias.value += rng.standard_normal(4)
    for _ in range(2 if careful else 1):
        layer.forward(x)
        dx = layer.backward(rng.standard_normal(x.shape) if careful else np.ones(x.shape))
    return {"dx": dx, "dweight": layer.weight.grad, "dbias": layer.bias.grad}


def largest_error(wrong, right):
    scale = max(np.abs(value).max() for value in right.values())
    return max(absolute(wrong[name], right[name]) for name in right) / scale


def mistakes_by_test():
    """[(mistake, error with dy = 1 and a fresh layer, error with a random dy and parameters)]"""
    task = exercise("layernorm")
    right = [layernorm_gradients(task.solution(), careful) for careful in (False, True)]
    return [
        (mistake, *(largest_error(layernorm_gradients(task.planted(mistake), c), right[c]) for c in (False, True)))
        for mistake in task.mistakes
    ]


def ones(lang):
    head = {
        "en": ("mistake in LayerNorm", "dy = 1, gain 1", "random dy, gain"),
        "zh": ("LayerNorm 的错误", "dy = 1，增益 1", "dy 和增益随机"),
    }
    words = {"en": ("passes", "seen"), "zh": ("通过", "发现")}[lang]
    rows = [(task.name(lang), *(words[int(error > 1e-6)] for error in errors)) for task, *errors in mistakes_by_test()]
    return markdown_table(head[lang], "lll", rows)


def passed():
    return sum(careless < 1e-6 for _, careless, _ in mistakes_by_test())


def planted():
    return len(mistakes_by_test())


def mutants():
    path = ROOT / "tests" / "proofs" / "mutants.toml"
    return len(tomllib.loads(path.read_text(encoding="utf-8"))["mutant"])
