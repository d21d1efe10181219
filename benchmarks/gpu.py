"""`python -m benchmarks.gpu`: this project against PyTorch on one GPU, in under ten minutes and without a question.

Each contender runs in a process of its own, one after the other: PyTorch eager and compiled (bfloat16, SDPA), this
project in bfloat16, and both in float32 with TF32 products, at GPT-2 124M (B 16, T 1024, vocabulary padded to 50304)
and at nanoGPT's "baby" shape; and the matrix products alone, which are the floor. Before them the same GPU is checked:
losses of a small model against NumPy's, and bfloat16 against float32. What does not fit into --minutes is left out,
and the table says so. Shapes take turns, and what matters most comes first.

MFU is what the model needs, by the formula of PaLM (Chowdhery et al. 2022, appendix B), over what the GPU could do:

    FLOP a token = 6 N + 12 n_layer n_embd T      N: parameters, without the tables that are only looked up
    MFU          = FLOP a token * tokens a second / peak FLOP a second, dense, of the products' precision

Memory is what the whole process takes of the GPU, the CUDA context included, by the same meter for all. Times are
medians, with the 10th and the 90th percentile; how busy the host's cores are is measured before and after each of them.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from benchmarks.contenders.on_gpu import CONTENDERS
from benchmarks.contenders.shapes import GPT2, SHAPES, Shape
from benchmarks.contenders.spread import Spread, busy, conditions, until_steady
from gpt.config.options import GPTConfig

GPU_SHAPES = {
    "gpt2": Shape("GPT-2 124M: 12 layers, 12 heads, C 768, T 1024, B 16, V 50304", 16, replace(GPT2, vocab_size=50304)),
    "baby": SHAPES["baby"],
}
# (contender, precision) of a shape, what matters most first
PLAN = {
    "gpt2": [
        ("nanograd", "bfloat16"),
        ("torch compiled", "bfloat16"),
        ("torch eager", "bfloat16"),
        ("matmuls", "bfloat16"),
        ("nanograd", "tf32"),
    ],
    "baby": [
        ("nanograd", "tf32"),
        ("torch eager", "tf32"),
        ("torch compiled", "bfloat16"),
        ("nanograd", "bfloat16"),
        ("matmuls", "tf32"),
    ],
}
PEAK_TFLOPS = {  # dense, from NVIDIA's data sheets: name in the device's -> (bfloat16, TF32)
    "H200": (989, 495),
    "H100": (989, 495),
    "A100": (312, 156),
    "L40S": (362, 183),
    "RTX 4090": (165, 83),
}
WARMUP, SECONDS = 5, 12  # steps that are not counted; time that a contender is measured for


def flop_per_token(config: GPTConfig) -> int:
    """What one token costs in training, forward and backward, by the formula above."""
    C = config.n_embd
    parameters = 12 * config.n_layer * C**2 + config.vocab_size * C
    return 6 * parameters + 12 * config.n_layer * C * config.block_size


def measure(shape: Shape, contender: str, precision: str, seconds: float = SECONDS) -> dict:
    """{"ms", "low_ms", "high_ms", "unsteady", "busy", "tokens_per_s", "memory", "breakdown"} of one contender.

    Steps go on for three times as long where the spread of their times is not small before.
    """
    before = busy()
    step, wait, memory, breakdown = CONTENDERS[contender](shape, precision)
    for _ in range(WARMUP):
        step()
    wait()
    times = []

    def take_turns() -> None:
        begun = time.perf_counter()
        for number in range(50):
            if number >= 3 and time.perf_counter() - begun >= seconds:
                break
            start = time.perf_counter()
            for _ in range(5):  # a run waits for its GPU now and then, not after every step
                step()
            wait()
            times.append((time.perf_counter() - start) / 5 * 1e3)

    unsteady = until_steady(take_turns, lambda: {contender: times}, 1)
    peak, spread = memory(), Spread.of(times)
    found = {"ms": spread.median, "low_ms": spread.low, "high_ms": spread.high, "unsteady": unsteady}
    found |= {"busy": [before, busy()], "tokens_per_s": shape.tokens() / spread.median * 1e3, "memory": peak}
    return found | {"breakdown": breakdown()}


# Is it right?


def check(small: GPTConfig | None = None, steps: int = 30) -> dict[str, float]:
    """Largest relative differences of losses and gradient norms over a short training; raises where they are large."""
    from gpt.config.options import TrainConfig
    from gpt.model import GPT
    from gpt.training.step import Trainer
    from nanograd import Device

    small = small or GPTConfig(97, block_size=80, n_layer=2, n_head=2, n_embd=96, activation="gelu", dropout=0.1)
    tokens = np.random.default_rng(0).zipf(1.3, 20_000).clip(1, small.vocab_size).astype(np.uint16) - 1

    def curve(backend, precision):
        config = TrainConfig(batch_size=8, block_size=small.block_size, max_steps=steps, warmup_steps=1, lr=1e-3)
        trainer = Trainer(GPT(small, Device(backend, precision)), config, tokens, tokens, 1)
        results = [trainer.train_step() for _ in range(steps)]
        return np.array([[float(result.loss), float(result.grad_norm)] for result in results])

    found = {}
    bounds = {"float64": 1e-9, "float32": 1e-3, "tf32": 1e-2, "bfloat16": 3e-2}
    for precision, bound in bounds.items():
        reference = curve("numpy", "float64" if precision == "float64" else "float32")
        found[precision] = float(np.abs(curve("cupy", precision) / reference - 1).max())
        if not found[precision] <= bound:
            raise SystemExit(f"{precision} is wrong: off by {found[precision]:.2g} relative, allowed {bound:.0e}")
    return found


# The table


def peak_of(name: str, precision: str) -> float | None:
    for part, (low, tf32) in PEAK_TFLOPS.items():
        if part in name:
            return low if precision == "bfloat16" else tf32
    return None


def table(shape: Shape, rows: list, gpu: str, peak: float | None = None) -> str:
    """Lines of text; `rows` are (contender, precision, result or why there is none)."""
    lines = [shape.about, f"{'':28}{'ms (10th to 90th percentile)':30}{'tokens/s':>12}{'MFU':>8}{'GiB':>8}"]
    measured = [
        (f"{contender}, {precision}", result) for contender, precision, result in rows if isinstance(result, dict)
    ]
    for contender, precision, result in rows:
        label = f"{contender}, {precision}"
        if isinstance(result, str):
            lines.append(f"{label:28}{result}")
            continue
        tflops = peak or peak_of(gpu, precision)
        rate = flop_per_token(shape.model) * result["tokens_per_s"]
        mfu = f"{rate / tflops / 1e12:8.1%}" if tflops and contender != "matmuls" else f"{'':>8}"
        ms = str(Spread(result["low_ms"], result["ms"], result["high_ms"]))
        lines.append(f"{label:28}{ms:30}{result['tokens_per_s']:12,.0f}{mfu}{result['memory'] / 2**30:8.1f}")
    if measured:
        unsteady = [label for label, result in measured if result["unsteady"]]
        loads = ([result["busy"][i] for _, result in measured] for i in range(2))
        lines.append(conditions(unsteady, *loads))
    return "\n".join(lines)


def breakdowns(rows: list) -> str:
    """The time of a step by kernel, for each contender that has one."""
    lines = []
    for contender, precision, result in rows:
        if isinstance(result, dict) and result["breakdown"]:
            lines.append(f"{contender}, {precision}: ms a step by kernel")
            lines += [f"  {ms:8.3f}  {name}" for name, ms in list(result["breakdown"].items())[:20]]
    return "\n".join(lines)


def in_a_process(arguments: list[str], seconds: float):
    """What `python -m benchmarks.gpu ARGUMENTS` prints as JSON, or one line that says why there is nothing."""
    if seconds < 20:
        return "left out: no time"
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"left out: not done after {seconds:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)] or lines
        return f"failed: {errors[-1][:160]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=9.5, help="time for everything")
    parser.add_argument("--peak_tflops", type=float, help="of this GPU, for MFU, if its name is not known here")
    parser.add_argument("--json", metavar="FILE", help="write all results there as well")
    parser.add_argument("--only", nargs=3, metavar=("SHAPE", "CONTENDER", "PRECISION"), help="one, printed as JSON")
    parser.add_argument("--check", action="store_true", help="only see whether losses are right")
    options = parser.parse_args(arguments)
    from nanograd.device.cuda import find_cupy

    missing, cupy = find_cupy()
    if missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    if options.check:
        print(json.dumps(check()))
        return 0
    if options.only:
        shape, contender, precision = options.only
        print(json.dumps(measure(GPU_SHAPES[shape], contender, precision)))
        return 0
    return run_all(cupy, options)


def in_turn(plan: dict) -> list:
    """(shape, entry) of every entry: the first of each shape, then the second of each, and so on."""
    rounds = itertools.zip_longest(*([(name, entry) for entry in entries] for name, entries in plan.items()))
    return [pair for each in rounds for pair in each if pair]


def run_all(cupy, options) -> int:
    deadline = time.monotonic() + 60 * options.minutes
    gpu = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{gpu}, CuPy {cupy.__version__}", flush=True)
    checked = in_a_process(["--check"], min(150, deadline - time.monotonic()))
    print(f"largest relative difference of losses and gradient norms from NumPy's: {checked}", flush=True)
    results = {"gpu": gpu, "check": checked, **{name: [] for name in PLAN}}
    for name, (contender, precision) in in_turn(PLAN):
        result = in_a_process(["--only", name, contender, precision], min(150, deadline - time.monotonic()))
        results[name].append((contender, precision, result))
        said = result if isinstance(result, str) else f"{result['ms']:.2f} ms a step"
        print(f"{name}: {contender}, {precision}: {said}", file=sys.stderr, flush=True)
    for name in PLAN:
        rows = results[name]
        print(f"\n{table(GPU_SHAPES[name], rows, gpu, options.peak_tflops)}\n\n{breakdowns(rows)}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 1 if isinstance(checked, str) else 0


if __name__ == "__main__":
    sys.exit(main())
