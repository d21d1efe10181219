"""Chapter 13: what the fast layers do, and what each piece of it saves, counted or measured."""

import time
import tracemalloc

import numpy as np
from book.drawing import BLUE, GREY, ORANGE, new_figure
from book.formulas import block, markdown_table, number, vector
from book.measured import measured

from gpt import GPT, GPTConfig
from gpt.config.options import TrainConfig
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.device.blas import add_product
from nanograd.device.threads import limit_blas
from nanograd.layers.activations import gelu as fast_gelu
from nanograd.layers.attention import Attention
from nanograd.layers.cross_entropy import CrossEntropy, cross_entropy_backward
from nanograd.layers.cross_entropy import cross_entropy as fast_cross_entropy
from nanograd.layers.embedding import scatter_add_rows
from nanograd.layers.layernorm import normalize, normalize_backward
from nanograd.reference import activations, attention, normalization
from nanograd.reference.cross_entropy import cross_entropy
from nanograd.reference.cross_entropy import cross_entropy_backward as plain_cross_entropy_backward
from nanograd.reference.model import new_parameters
from nanograd.reference.training import training_step

SCORES = np.log([1.0, 2.0, 1.0])
TARGET = 1


def plain_gradient():
    e = np.exp(SCORES)
    p = e / e.sum()
    gradient = plain_cross_entropy_backward(1.0, SCORES[None], np.array([TARGET]))[0]
    return block(
        rf"e &= e^s = {vector(e)} \qquad z = 1 + 2 + 1 = {number(e.sum())}",
        rf"\text{{loss}} &= \ln z - s_2 = \ln 4 - \ln 2 = {number(cross_entropy(SCORES[None], np.array([TARGET])))}",
        rf"p &= e / z = {vector(p)}",
        rf"ds &= p - (0, 1, 0) = {vector(gradient)}",
    )


def one_array():
    """The one array of the fast version, after each of its two functions."""
    array, target = SCORES[None].copy(), np.array([TARGET])
    print("logits    ", vector(array))
    losses, z = fast_cross_entropy(array, target, array)
    print("forward   ", vector(array), "  loss", number(losses[0]), "  z", number(z[0, 0]))
    cross_entropy_backward(array, z, target, 1.0)
    print("backward  ", vector(array))


# Passes over memory, counted


class Counted(np.ndarray):
    """An array that notes which calls read and write arrays of its own size."""

    calls = reads = writes = size_of_all = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        result = getattr(ufunc, method)(*map(bare, inputs), out=tuple(map(bare, out)) or None, **options)
        note(inputs, out or (result,))
        return out[0] if out else counted(result)

    def __array_function__(self, function, types, inputs, options):
        result = function(*map(bare, inputs), **{name: bare(value) for name, value in options.items()})
        note(inputs, (result,))
        return counted(result)


def bare(value):
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def counted(value):
    return value.view(Counted) if isinstance(value, np.ndarray) else value


def note(inputs, outputs) -> None:
    reads, writes = (
        sum(getattr(array, "size", 1) == Counted.size_of_all for array in arrays) for arrays in (inputs, outputs)
    )
    Counted.reads += reads
    Counted.writes += writes
    Counted.calls += bool(reads or writes)


def passes(function, *arrays):
    """(calls, arrays read, arrays written) of those as large as the first."""
    Counted.calls = Counted.reads = Counted.writes = 0
    Counted.size_of_all = arrays[0].size
    function(*(counted(array.copy()) for array in arrays))
    return Counted.calls, Counted.reads, Counted.writes


N, C = 64, 32


def layernorm_plain(x, dy, *_):
    weight, bias = np.ones((2, C))
    normalization.layernorm(x, weight, bias)
    normalization.layernorm_backward(dy, x, weight, bias)


def layernorm_fast(x, dy, xhat, y, dx, scratch):
    weight, bias = np.ones((2, C))
    rstd = normalize(x, weight, bias, 1e-5, xhat, y)
    normalize_backward(dy, weight, xhat, rstd, dx, scratch, None, np.zeros(C), None)


def gelu_plain(x, dy, *_):
    activations.gelu(x)
    activations.gelu_backward(dy, x)


def gelu_fast(x, dy, slope, k, *_):
    fast_gelu(x, x, slope, k)
    np.multiply(dy, slope, out=dy)


def loss_plain(x, *_):
    targets = np.zeros(N, dtype=int)
    cross_entropy(x, targets)
    plain_cross_entropy_backward(1.0, x, targets)


def loss_fast(x, *_):
    targets = np.zeros(N, dtype=int)
    _, z = fast_cross_entropy(x, targets, x)
    cross_entropy_backward(x, z, targets, 1 / N)


PAIRS = {
    "LayerNorm": (layernorm_plain, layernorm_fast),
    "GELU": (gelu_plain, gelu_fast),
    "cross-entropy": (loss_plain, loss_fast),
}


def counted_passes(name):
    arrays = np.random.default_rng(0).standard_normal((6, N, C))
    return [passes(function, *arrays) for function in PAIRS[name]]


def table_of_passes(lang):
    head = {
        "en": ("plain → fast", "calls", "arrays read", "arrays written"),
        "zh": ("朴素 → 快速", "调用次数", "读数组", "写数组"),
    }
    rows = []
    for name in PAIRS:
        changes = [
            f"{before}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{after}"
            for before, after in zip(*counted_passes(name), strict=True)
        ]
        shown = "交叉熵" if lang == "zh" and name == "cross-entropy" else name
        rows.append((shown, *changes))
    return markdown_table(head[lang], "lrrr", rows)


# Times, measured


def median_times(functions: dict, rounds: int) -> dict[str, float]:
    """Milliseconds of each, in turn, the first round left out."""
    times = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(float(np.median(all_of[1:])), 4) for name, all_of in times.items()}


def pieces():
    """{what: {form: ms}} of single pieces at half the default batch: 1024 positions, float32, one thread."""
    limit_blas(1)
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    n, c, v = 1024, 128, 512
    x, wide, wide_2 = array(n, c), array(n, 4 * c), array(n, 4 * c)
    outs = [array(n, 4 * c) for _ in range(24)]
    mean_row, ones = np.full(4 * c, 1 / (4 * c), np.float32), np.ones(n, np.float32)
    ids, table, dy = rng.integers(0, v, n), array(v, c), array(n, c)
    grad = np.zeros((c, 4 * c), np.float32)
    logits, targets = array(n, v), rng.integers(0, v, n)
    loss = CrossEntropy()
    weight, bias, dweight = np.ones(c, np.float32), *np.zeros((2, c), np.float32)
    arrays = [array(n, c) for _ in range(4)]
    B, H, T, D = 16, 4, 64, 32
    qkv, do = array(B, T, 3 * H * D), array(B, T, H * D)
    heads = Attention(H)
    q, k, values, do_heads = (attention.split_heads(part, H) for part in (*np.split(qkv, 3, axis=-1), do))
    onehot_grad = np.zeros_like(table)

    def plain_attention():
        attention.attention(q, k, values)
        attention.attention_backward(do_heads, q, k, values)

    def fast_attention():
        heads.forward(qkv)
        heads.backward(do)

    def one_hot():
        return np.eye(v, dtype=np.float32)[ids].T @ dy

    few, few_dy, large_grad = array(64, 768), array(64, 3072), np.zeros((768, 3072), np.float32)

    def into_grad(grad, x, dy):
        grad += x.T @ dy

    return {
        "24 sums, all kept": {
            "new arrays": lambda: [wide + wide_2 for _ in outs],
            "into buffers": lambda: [np.add(wide, wide_2, out=out) for out in outs],
        },
        "mean over channels": {"x.mean(-1)": lambda: wide.mean(-1), "x @ row": lambda: wide @ mean_row},
        "sum over positions": {"x.sum(0)": lambda: wide.sum(0), "ones @ x": lambda: ones @ wide},
        "dW added": {
            "a product, then a sum": lambda: into_grad(grad, x, wide),
            "one product": lambda: add_product(x.T, wide, grad),
        },
        "a large dW, 64 positions": {
            "a product, then a sum": lambda: into_grad(large_grad, few, few_dy),
            "one product": lambda: add_product(few.T, few_dy, large_grad),
        },
        "embedding gradient": {
            "one-hot product": one_hot,
            "np.add.at": lambda: np.add.at(onehot_grad, ids, dy),
            "sorted segments": lambda: scatter_add_rows(onehot_grad, ids, dy),
        },
        "LayerNorm": {
            "plain": lambda: (
                normalization.layernorm(x, weight, bias),
                normalization.layernorm_backward(dy, x, weight, bias),
            ),
            "fast": lambda: normalize_backward(
                dy, weight, arrays[0], normalize(x, weight, bias, 1e-5, *arrays[:2]), *arrays[2:], None, dweight, None
            ),
        },
        "attention": {"plain": plain_attention, "fast": fast_attention},
        "cross-entropy": {
            "plain": lambda: (cross_entropy(logits, targets), plain_cross_entropy_backward(1.0, logits, targets)),
            "fast": lambda: (loss.forward(logits, targets), loss.backward()),
        },
    }


def piece_times():
    return {what: median_times(forms, 60) for what, forms in pieces().items()}


def loss_memory():
    """Arrays of the size of the logits that loss and gradient need beside them, at most at a time."""
    logits = np.random.default_rng(0).standard_normal((2048, 512))
    targets = np.zeros(2048, dtype=int)
    found = {}
    loss = CrossEntropy()
    forms = {
        "plain": lambda: (cross_entropy(logits, targets), plain_cross_entropy_backward(1.0, logits, targets)),
        "fast": lambda: (loss.forward(logits, targets, inplace=True), loss.backward()),
    }
    for name, function in forms.items():
        function()
        tracemalloc.start()
        function()
        found[name] = round(tracemalloc.get_traced_memory()[1] / logits.nbytes, 2)
        tracemalloc.stop()
    return found


SHAPE = {"vocab_size": 512, "block_size": 64, "n_layer": 2, "n_head": 4, "n_embd": 128}


def step_times():
    """Milliseconds of a training step of the default model (B 32, T 64, C 128, V 512), each form in turn."""
    limit_blas(1)
    tokens = np.random.default_rng(0).integers(0, 512, 50_000).astype(np.uint16)
    state = {"t": 0}
    p = new_parameters(512, 64, 128, 2, np.random.default_rng(0))
    state["p"] = p, *({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))

    def plain():
        state["t"] += 1
        starts = np.random.default_rng(state["t"]).integers(0, len(tokens) - 64, 32)
        windows = tokens[starts[:, None] + np.arange(65)].astype(int)
        _, *state["p"] = training_step(*state["p"], state["t"], windows[:, :-1], windows[:, 1:], 4, 1e-3)

    def fast(dtype, threads):
        config = TrainConfig(batch_size=32, block_size=64, max_steps=10**6)
        trainer = Trainer(GPT(GPTConfig(**SHAPE), Device("numpy", dtype=dtype)), config, tokens, tokens, threads)
        return lambda: float(trainer.train_step().loss)

    forms = {
        "plain, float64": plain,
        "fast layers, float64": fast("float64", 1),
        "fast layers, float32": fast("float32", 1),
        "two processes, float32": fast("float32", 2),
    }
    return median_times(forms, 12)


def measurements():
    return {"steps": step_times(), "pieces": piece_times(), "loss_memory": loss_memory()}


def times():
    return measured("fast.measurements")


def ratio(first: str, second: str) -> str:
    steps = times()["steps"]
    return f"{steps[first] / steps[second]:.1f}"


def whole_ratio():
    return ratio("plain, float64", "two processes, float32")


def layers_ratio():
    return ratio("plain, float64", "fast layers, float64")


def precision_ratio():
    return ratio("fast layers, float64", "fast layers, float32")


def processes_ratio():
    return ratio("fast layers, float32", "two processes, float32")


def stairs():
    """Four bars, each shorter: the plain step, with fast layers, in float32, and on two processes."""
    steps = times()["steps"]
    figure, axes = new_figure(height=2.6)
    names = list(steps)[::-1]
    bars = axes.barh(names, [steps[name] for name in names], color=[ORANGE, BLUE, BLUE, GREY])
    axes.bar_label(bars, [f"{steps[name]:.0f} ms" for name in names], padding=4)
    axes.set(xlabel="one training step, ms", xlim=(0, 1.25 * max(steps.values())))
    axes.grid(axis="y", visible=False)
    return figure


def table_of_pieces(lang):
    head = {"en": ("piece", "forms, with ms", "slowest / quickest"), "zh": ("环节", "写法与毫秒数", "最慢 / 最快")}
    chinese = {
        "24 sums, all kept": "24 个和，都留着", "mean over channels": "对通道取平均",
        "sum over positions": "对位置求和",
        "dW added": "累加 dW", "a large dW, 64 positions": "大的 dW，64 个位置",
        "embedding gradient": "词向量的梯度", "LayerNorm": "LayerNorm 前向加反向",
        "attention": "注意力前向加反向", "cross-entropy": "交叉熵前向加反向",
        "new arrays": "新建数组", "into buffers": "写进缓冲区", "a product, then a sum": "先乘，再加",
        "one product": "一次乘法", "one-hot product": "独热矩阵乘法", "sorted segments": "排序后分段求和",
        "plain": "朴素", "fast": "快速",
    }  # fmt: skip

    def label(name):
        said = chinese.get(name, name) if lang == "zh" else name
        return f"`{name}`" if "(" in name or "@" in name or "np." in name else said

    rows = []
    for what, forms in times()["pieces"].items():
        said = "<br>".join(f"{label(form)} {ms:.3f}" for form, ms in forms.items())
        ratio = max(forms.values()) / min(forms.values())
        rows.append((label(what), said, f"{ratio:.1f}"))
    return markdown_table(head[lang], "llr", rows)


def memory_plain():
    return f"{times()['loss_memory']['plain']:.1f}"


def memory_fast():
    return f"{times()['loss_memory']['fast']:.1f}"


def parameters():
    return f"{GPT(GPTConfig(**SHAPE), Device('numpy')).n_parameters():,}"


def arrays_of_parameters():
    return len(list(GPT(GPTConfig(**SHAPE), Device("numpy")).parameters()))
