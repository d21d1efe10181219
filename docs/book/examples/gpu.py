"""Chapter 14: a kernel in Python's words, and bytes counted with CuPy itself on a CPU.

python docs/book/examples/gpu.py counts       prints what `counts` keeps; needs CuPy, on libfakecuda
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from book.drawing import BLUE, ORANGE, new_figure
from book.formulas import block, markdown_table, vector
from book.measured import measured

ROOT = Path(__file__).resolve().parents[3]

H, B, M, X = np.array([[1.0, -2.0], [1.0, 1.0], [2.0, 0.0], [3.0, 4.0]])
DY = np.array([1.0, 3.0])


def by_hand():
    t = H + B
    return block(
        rf"t &= h + b = {vector(t)}",
        rf"u &= m \odot t = {vector(M * t)}",
        rf"y &= x + u = {vector(X + M * t)}",
        rf"dy &= {vector(DY)}",
        rf"dx &= dy = {vector(DY)}",
        rf"dh &= m \odot dy = {vector(M * DY)}",
    )


def threads():
    """The kernel is what one thread does. The launch runs it for every i, in any order."""

    def finish_branch(i, h, b, m, x, y):
        value = h[i] + b[i % len(b)]
        value = value * m[i]
        value = value + x[i]
        y[i] = value

    y = np.empty(2)
    for i in (1, 0):
        finish_branch(i, H, B, M, X, y)
    print(y)


def butterfly():
    """A sum over four threads: each adds what its partner has, two steps away, then one."""
    held = np.array([1.0, 2.0, 3.0, 4.0])
    print("thread      0   1   2   3")
    print("holds   ", "".join(f"{value:4.0f}" for value in held))
    for other in (2, 1):
        held = held + held[np.arange(4) ^ other]
        print(f"then {other:3}", "".join(f"{value:4.0f}" for value in held))


# Counted by CuPy on a CPU. What is above the kernels in each pair is the same in plain array math.


def plain_branch(xp, h, row, m, x, *_):
    return x + m * (h + row)


def plain_layernorm(xp, x, row, *_):
    xc = x - x.mean(-1, keepdims=True)
    rstd = 1 / xp.sqrt((xc * xc).mean(-1, keepdims=True) + 1e-5)
    return xc * rstd * row + row


def plain_layernorm_backward(xp, dy, row, xhat, residual, rstd):
    g = dy * row
    dx = rstd * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))
    return dx + residual, (dy * xhat).sum(0)


def plain_gelu(xp, x, *_):
    u = 0.7978845608 * (x + 0.044715 * x * x * x)
    return x * (1 + xp.tanh(u)) / 2


def count_here() -> dict:
    """{what: {form: [launches, arrays read, arrays written]}}, in arrays of the size of the first."""
    import cupy

    from nanograd import Device
    from nanograd.layers.activations import GELU
    from nanograd.layers.layernorm import normalize, normalize_backward
    from nanograd.layers.residual import finish_branch
    from tools.cuda_on_cpu.counts import take_counts

    Device("cupy")
    rng = np.random.default_rng(0)
    x, y, m, h, out, scratch = (cupy.asarray(rng.standard_normal((256, 768), dtype=np.float32)) for _ in range(6))
    row, rstd, grad = cupy.ones(768, "float32"), cupy.ones((256, 1), "float32"), cupy.zeros(768, "float32")
    gelu = GELU()
    pairs = {
        "end of a branch": (
            lambda: plain_branch(cupy, h, row, m, x),
            lambda: finish_branch(out, row, m, x),
        ),
        "LayerNorm": (
            lambda: plain_layernorm(cupy, x, row),
            lambda: normalize(x, row, row, 1e-5, out, scratch),
        ),
        "LayerNorm, backward": (
            lambda: plain_layernorm_backward(cupy, y, row, m, x, rstd),
            lambda: normalize_backward(y, row, m, rstd, out, scratch, x, grad, None),
        ),
        "GELU": (lambda: plain_gelu(cupy, x), lambda: gelu(x)),
    }
    found = {}
    for what, forms in pairs.items():
        found[what] = {}
        for form, function in zip(("plain", "fused"), forms, strict=True):
            function()
            take_counts()
            function()
            rows = [c for name, c in take_counts().items() if c.get("sectors_read") or c.get("sectors_written")]
            bytes_of = [sum(c[name] for c in rows) / x.nbytes for name in ("sectors_read", "sectors_written")]
            found[what][form] = [sum(c["launches"] for c in rows), *(round(value, 2) for value in bytes_of)]
    return found


SUM = """
extern "C" __global__ void sum8(const float* x, float* total) {
  __shared__ float part[8];
  int i = threadIdx.x;
  part[i] = x[i];
  __syncthreads();
  for (int half = 4; half > 0; half /= 2) {
    if (i < half) part[i] += part[i + half];
    BARRIER
  }
  if (i == 0) *total = part[0];
}
"""


def race_here(barrier: str) -> float:
    """The sum of 1 to 8 by eight threads, with or without barriers."""
    import cupy

    total = cupy.zeros(1, "float32")
    kernel = cupy.RawKernel(SUM.replace("BARRIER", barrier), "sum8")
    kernel((1,), (8,), (cupy.arange(1, 9, dtype="float32"), total))
    return float(total[0])


def in_cupy(*arguments: str, **settings: str) -> tuple[str, str]:
    """What this file prints, and what libfakecuda says, in CuPy's environment on the CPU."""
    command = f'. "$(tools/cuda_on_cpu/build.sh)" && exec python docs/book/examples/gpu.py {" ".join(arguments)}'
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'docs'}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=os.environ | paths | settings, capture_output=True, text=True
    )
    return done.stdout, done.stderr


def counts():
    """Launches and bytes of four functions, and what becomes of a sum whose barriers are forgotten."""
    found = json.loads(in_cupy("counts", FAKE_CUDA_COUNTS="1")[0])
    sums = {}
    for form, barrier in (("with the barrier", "with"), ("without", "without")):
        total = in_cupy("race", barrier)[0]
        said = in_cupy("race", barrier, FAKE_CUDA_RACES="1")[1]
        lines = [line for line in said.splitlines() if line.startswith("fakecuda:")]
        sums[form] = {"sum": float(total), "said": lines[:1]}
    return {"traffic": found, "sums": sums}


def table(lang):
    head = {
        "en": ("array by array → one kernel", "launches", "arrays read", "arrays written"),
        "zh": ("逐个数组 → 一个核函数", "启动次数", "读数组", "写数组"),
    }
    chinese = {"end of a branch": "分支末尾", "LayerNorm, backward": "LayerNorm 反向"}
    rows = []
    for what, forms in measured("gpu.counts")["traffic"].items():
        pairs = zip(forms["plain"], forms["fused"], strict=True)
        changes = [f"{before:.0f}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{after:.0f}" for before, after in pairs]
        rows.append((what if lang == "en" else chinese.get(what, what), *changes))
    return markdown_table(head[lang], "lrrr", rows)


def barriers():
    for form, found in measured("gpu.counts")["sums"].items():
        print(f"{form:16}  sum of 1 to 8: {found['sum']:g}")


def race():
    """What the race detector says of the kernel without barriers."""
    for line in measured("gpu.counts")["sums"]["without"]["said"]:
        print(line.partition(" failed: ")[2].replace(": race: ", "\nrace: "))


def bytes_moved():
    """Pairs of bars, arrays read and written: array by array 8 to 23, in one kernel 2 to 6."""
    found = measured("gpu.counts")["traffic"]
    figure, axes = new_figure(height=3.0)
    places = np.arange(len(found))
    for shift, form, label, colour in ((-0.2, "plain", "array by array", ORANGE), (0.2, "fused", "one kernel", BLUE)):
        moved = [sum(forms[form][1:]) for forms in found.values()]
        bars = axes.barh(places + shift, moved, 0.4, color=colour, label=label)
        axes.bar_label(bars, [f"{value:.0f}" for value in moved], padding=3)
    axes.set(xlabel="arrays read and written", yticks=places, yticklabels=list(found))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.legend()
    return figure


def card():
    """An H100 as it is assumed in predictions, benchmarks/gpu_counts."""
    from benchmarks.gpu_counts import H100

    return H100


def tera_operations():
    return f"{card().products / 1e12:.0f}"


def terabytes():
    return f"{card().bandwidth / 1e12:.0f}"


def operations_for_a_number():
    """Operations in the time in which a number of 2 bytes is moved."""
    return f"{2 * card().products / card().bandwidth:.0f}"


def step_counts() -> dict[str, str]:
    """The last line of the table of a step in docs/gpu.md, as that document has it."""
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    row = re.search(r"^\| \*\*together\*\* \|(.+)\|$", text, re.M).group(1).split("|")
    names = [
        "launches",
        "read",
        "written",
        "least",
        "arrays",
        "flop",
        "tensor",
        "conflicts",
        "registers",
        "occupancy",
        "ms",
    ]
    return {name: cell.strip() for name, cell in zip(names, row, strict=True)}


def launches():
    return step_counts()["launches"]


def gigabytes():
    counted = step_counts()
    return f"{float(counted['read']) + float(counted['written']):.0f}"


def milliseconds():
    return f"{float(step_counts()['ms']):.0f}"


if __name__ == "__main__":
    if sys.argv[1] == "counts":
        print(json.dumps(count_here()))
    else:
        print(race_here("__syncthreads();" if sys.argv[2] == "with" else ""))
