"""`python -m benchmarks.gpu_counts`: what a training step asks of a GPU, counted without one.

tools/cuda_on_cpu runs every kernel's PTX on the CPU and counts: launches; bytes of global memory that are read and
written, each 32-byte sector once a launch (what memory has to move, as caches hold the rest); operations of floats on
ordinary and on tensor cores; turns that the banks of shared memory take. cuBLAS's products are counted by their shapes.

A step of GPT-2 124M is too large to run there. Its launches, its products and its memory come from a step of that shape
in which nothing is computed. A kernel's bytes and operations come from small steps, as a sum of terms

    1,  L,  BT,  BTL,  BTC,  BTCL,  BT^2 CL,  BTV,  C^2 L,  VC,  TC

whose factors are found on the shapes FIT by least squares and checked on three others, CHECK.

Predicted time: of a kernel, the longest of its bytes over the bandwidth, its operations over the rate of the ordinary
cores, and those of tensor cores over theirs. Nothing of this is a measurement of time.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from benchmarks.contenders.shapes import Shape
from benchmarks.gpu import GPU_SHAPES, ours
from gpt.config.options import GPTConfig
from tools.cuda_on_cpu.counts import take_counts


@dataclass(frozen=True)
class GPU:
    """Bytes and operations a second: `products` are cuBLAS's large ones, `tiles` those of a kernel's mma."""

    name: str
    bandwidth: float
    products: float
    tiles: float
    flops: float


# The data sheet's bandwidth less a tenth; what cuBLAS usually reaches of 989 TFLOP/s; about what mma.sync does.
H100 = GPU("H100", 3.0e12, 650e12, 350e12, 50e12)
HEAD = 64  # channels of a head, as in GPT-2: the kernels are the very same
CHECK = (2, 192, 128, 256, 2), (1, 64, 192, 384, 3), (3, 128, 64, 128, 1)  # B, T, C, V, L
FIT = [
    *((1, 64, 64, 128, 1), (2, 64, 64, 128, 1), (1, 128, 64, 128, 1), (1, 64, 128, 128, 1), (1, 64, 64, 256, 1)),
    *((1, 64, 64, 128, 2), (2, 128, 64, 256, 1), (1, 128, 128, 128, 1), (1, 192, 64, 128, 2), (2, 64, 128, 256, 2)),
    *((3, 64, 64, 384, 1), (1, 256, 64, 128, 1), (2, 64, 192, 128, 1)),
]
PRODUCTS = "products (cuBLAS)"
QUANTITIES = "read", "written", "flops", "tensor_flops"


def shape_of(B: int, T: int, C: int, V: int, L: int) -> Shape:
    shape = GPU_SHAPES["gpt2"].model
    settings = {"activation": shape.activation, "tie_weights": shape.tie_weights, "qkv_bias": shape.qkv_bias}
    return Shape("", B, GPTConfig(V, block_size=T, n_layer=L, n_head=C // HEAD, n_embd=C, **settings))


def sizes_of(shape: Shape) -> tuple[int, int, int, int, int]:
    model = shape.model
    return shape.batch_size, model.block_size, model.n_embd, model.vocab_size, model.n_layer


def terms(B: int, T: int, C: int, V: int, L: int) -> list[int]:
    N = B * T
    return [1, L, N, N * L, N * C, N * C * L, N * T * C * L, N * V, C * C * L, V * C, T * C]


def kernel_name(full: str) -> str:
    """A kernel without its template's arguments; all products of cuBLAS are one, and all kernels that CuPy makes.

    >>> kernel_name("void add_row<bfloat16, 8>(bfloat16*, long long)"), kernel_name("cublasGemmEx")
    ('add_row', 'products (cuBLAS)')
    """
    if full.startswith("cublas"):
        return PRODUCTS
    if full.startswith("cupy_"):
        return "scalars and sums (CuPy)"
    return re.sub(r"^void |[<(].*$", "", full)


def counted(sizes: tuple, precision: str = "bfloat16", **settings: str) -> dict[str, dict[str, int]]:
    """{kernel: counts} of one step at a shape, in a process of its own, as the library reads its settings once."""
    command = [sys.executable, "-m", "benchmarks.gpu_counts", "--count", json.dumps([*sizes, precision])]
    environment = os.environ | {"FAKE_CUDA_MEMORY": "60", **settings}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"error: a step of {sizes} fails: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout.splitlines()[-1])


def count_here(sizes: list, precision: str) -> dict[str, dict[str, int]]:
    step, *_ = ours(shape_of(*sizes), precision)
    step()  # what happens once: kernels are built, workspaces made
    take_counts()
    step()
    return {name: counts for name, counts in take_counts().items() if name != "wait for the device"}


def by_kernel(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The counts of all instances of a kernel added up; bytes are those of sectors."""
    found = defaultdict(lambda: defaultdict(int))
    for full, one in counts.items():
        sums = found[kernel_name(full)]
        for key in ("launches", "flops", "tensor_flops", "shared_turns", "shared_least"):
            sums[key] += one[key]
        for key in ("read", "written"):
            sums[key] += one[f"sectors_{key}"]
    return {name: dict(sums) for name, sums in found.items()}


@dataclass
class Fit:
    """{kernel: {quantity: factors of `terms`}}, and the largest relative error on CHECK, of a whole step's sums."""

    factors: dict[str, dict[str, np.ndarray]]
    error: float

    def at(self, sizes: tuple) -> dict[str, dict[str, float]]:
        x = np.array(terms(*sizes), dtype=np.float64)
        return {
            name: {key: max(0.0, float(factors @ x)) for key, factors in of.items()}
            for name, of in self.factors.items()
        }


def fit(at_fit: list[dict], at_check: list[dict]) -> Fit:
    """Least squares on the steps of FIT, each weighed by its own size, checked on those of CHECK."""
    names = sorted({name for counts in at_fit for name in counts if name != PRODUCTS})
    X = np.array([terms(*sizes) for sizes in FIT], dtype=np.float64)
    scale = X.max(0)
    factors = {}
    for name in names:
        factors[name] = {}
        for key in QUANTITIES:
            y = np.array([counts.get(name, {}).get(key, 0) for counts in at_fit], dtype=np.float64)
            weight = 1 / np.maximum(1, y)
            solution, *_ = np.linalg.lstsq(X / scale * weight[:, None], y * weight, rcond=1e-9)
            factors[name][key] = solution / scale
    found = Fit(factors, 0.0)
    for sizes, counts in zip(CHECK, at_check, strict=True):
        expected = found.at(sizes)
        for key in QUANTITIES:
            total = sum(one[key] for name, one in counts.items() if name != PRODUCTS)
            found.error = max(found.error, abs(sum(one[key] for one in expected.values()) / total - 1))
    return found


def seconds(name: str, one: dict, gpu: GPU) -> float:
    """The longest of what a kernel has to do."""
    tensor = gpu.products if name == PRODUCTS else gpu.tiles
    return max((one["read"] + one["written"]) / gpu.bandwidth, one["tensor_flops"] / tensor, one["flops"] / gpu.flops)


def table(sizes: tuple, launches: dict[str, int], large: dict[str, dict], conflicts: dict[str, float], gpu: GPU) -> str:
    """A line a kernel: launches, GB read and written, arrays (B, T, C) a layer, GFLOP, conflicts, predicted ms."""
    B, T, C, _, L = sizes
    unit = 2 * B * T * C * L  # bytes of an array (B, T, C) of bfloat16 in each layer
    total = {key: sum(one[key] for one in large.values()) for key in QUANTITIES}
    times = {name: seconds(name, one, gpu) for name, one in large.items()}

    def row(name: str, number: int, one: dict, share: float | None, time: float) -> str:
        moved = one["read"] + one["written"]
        cells = [number, *(f"{one[key] / 1e9:.2f}" for key in ("read", "written")), f"{moved / unit:.1f}"]
        cells += [*(f"{one[key] / 1e9:,.0f}" for key in ("flops", "tensor_flops"))]
        cells += ["" if share is None else f"{share:.0%}", f"{1e3 * time:.2f}"]
        return f"| {name} | {' | '.join(map(str, cells))} |"

    names = sorted(large, key=lambda name: -times[name])
    return "\n".join(
        [
            "| kernel | launches | GB read | GB written | arrays a layer | GFLOP | on tensor cores | conflicts | ms |",
            "|---|---|---|---|---|---|---|---|---|",
            *(row(name, launches[name], large[name], conflicts.get(name), times[name]) for name in names),
            row("**together**", sum(launches.values()), total, None, sum(times.values())),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_counts", description=__doc__.splitlines()[0])
    parser.add_argument("--count", help=argparse.SUPPRESS)  # the shape and precision that a process of its own counts
    asked = parser.parse_args()
    if asked.count:
        *sizes, precision = json.loads(asked.count)
        print(json.dumps(count_here(sizes, precision)))
        return 0
    if "FAKE_CUDA_TRANSLATOR" not in os.environ:
        print('error: this counts on tools/cuda_on_cpu: . "$(tools/cuda_on_cpu/build.sh)"', file=sys.stderr)
        return 2
    sizes = sizes_of(GPU_SHAPES["gpt2"])
    exact = by_kernel(counted(sizes, FAKE_CUDA_DRY="1"))
    at_fit, at_check = ([by_kernel(counted(s, FAKE_CUDA_COUNTS="1")) for s in some] for some in (FIT, CHECK))
    found = fit(at_fit, at_check)
    large = found.at(sizes) | {PRODUCTS: exact[PRODUCTS]}
    launches = {name: one["launches"] for name, one in exact.items()}
    some = at_check[0].items()
    conflicts = {name: one["shared_turns"] / one["shared_least"] - 1 for name, one in some if one["shared_least"]}
    print(GPU_SHAPES["gpt2"].about, "in bfloat16; a step")
    print(table(sizes, launches, {name: large[name] for name in large if name in launches}, conflicts, H100))
    print(f"\nThe formula is off by {found.error:.1%} at most on the three shapes that it was not fitted to.")
    print(f"Predicted for {H100.name}: {H100.bandwidth / 1e12} TB/s, {H100.products / 1e12:.0f} TFLOP/s in products.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
