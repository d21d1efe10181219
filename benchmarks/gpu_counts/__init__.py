"""`python -m benchmarks.gpu_counts`: what a training step asks of a GPU, counted without one.

tools/cuda_on_cpu runs every kernel's PTX on the CPU and counts: launches; bytes of global memory that are read and
written, each 32-byte sector once a launch (what memory has to move, as caches hold the rest); operations of floats on
ordinary and on tensor cores; turns that the banks of shared memory take. cuBLAS's products are counted by their shapes.

A step of GPT-2 124M is too large to run there. Its launches, its products and its memory come from a step of that shape
in which nothing is computed. A kernel's bytes and operations come from small steps, as a sum of terms

    1,  L,  BT,  BTL,  BTC,  BTCL,  BT^2 CL,  BTV,  C^2 L,  VC,  TC

whose factors are found on the shapes FIT by least squares and checked on three others, CHECK. Two kinds of kernels have
terms of their own: those over the flat arenas, of which a thread does some things once and some for each element; and
attention's backward pass, whose dq goes through memory from the second tile of keys on.

Registers, spills and occupancy are those that NVIDIA's assembler allots (assembled.py).

Predicted time: of a kernel, the longest of its bytes over the bandwidth, its operations over the rate of the ordinary
cores, and those of tensor cores over theirs. Nothing of this is a measurement of time.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.contenders.on_gpu import ours
from benchmarks.contenders.shapes import Shape
from benchmarks.gpu import GPU_SHAPES
from benchmarks.gpu_counts.assembled import SHARED, Assembled, assembled, occupancy
from gpt.config.options import GPTConfig
from nanograd.kernels import attention, launching
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
    *((3, 64, 64, 384, 1), (1, 256, 64, 128, 1), (2, 64, 192, 128, 1), (1, 64, 256, 128, 2)),
]
KEYS = 128  # of a tile in attention_whole_mma.cu
ARENA_THREADS = {"adamw": 4096 * 256, "square_parts": 1024 * 256}  # at most, in a launch of these
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


def arena_terms(name: str, B: int, T: int, C: int, V: int, L: int) -> list[int]:
    """1, parameters, and the threads that look after them, of a kernel over both arenas."""
    arenas = parameters_of(C, V, T, L)
    return [1, sum(arenas), sum(min(size, ARENA_THREADS[name]) for size in arenas)]


def parameters_of(C: int, V: int, T: int, L: int) -> tuple[int, int]:
    """The numbers in the matrices and in the vectors of GPT-2."""
    return V * C + T * C + 12 * C * C * L, 13 * C * L + 2 * C


def terms_of(name: str, key: str, sizes: tuple) -> list[int]:
    """The terms that a quantity of a kernel is a sum of."""
    if name in ARENA_THREADS:
        return arena_terms(name, *sizes)
    if name == "attention_whole_mma" and key in ("read", "written"):
        B, T, C, _, L = sizes
        return [*terms(*sizes), B * max(T - KEYS, 0) * C * L]
    return terms(*sizes)


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
    attention.fills = lambda *_: True  # as GPT-2's heads at B 16 do on an H100: small steps take the same kernels
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
    """{kernel: {quantity: factors of `terms_of`}}, and the largest relative error on CHECK, of a whole step's sums."""

    factors: dict[str, dict[str, np.ndarray]]
    error: float

    def at(self, sizes: tuple) -> dict[str, dict[str, float]]:
        return {
            name: {key: max(0.0, float(factors @ terms_of(name, key, sizes))) for key, factors in of.items()}
            for name, of in self.factors.items()
        }


def fit(at_fit: list[dict], at_check: list[dict]) -> Fit:
    """Least squares on the steps of FIT, each weighed by its own size, checked on those of CHECK."""
    names = sorted({name for counts in at_fit for name in counts if name != PRODUCTS})
    factors = {}
    for name in names:
        factors[name] = {}
        for key in QUANTITIES:
            X = np.array([terms_of(name, key, sizes) for sizes in FIT], dtype=np.float64)
            scale = X.max(0)
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


# What a layer has to move, in arrays (B, T, C): all that is given is read once, all that is wanted is written once, and
# what only adds to another kernel's result, as a bias or its gradient, is done there.
LEAST_A_LAYER = {
    "attention_mma": 4,  # q, k, v; o
    "attention_whole_mma": 8,  # q, k, v, o, do; dq, dk, dv
    "gelu": 8,  # h; a
    "gelu_backward": 12,  # h, da; dh
    "finish_branch": 6,  # twice y, x; x
    "normalize": 4,  # twice x; y
    "normalize_backward_sums": 8,  # twice dy, x, the residual; dx
}


def least(name: str, sizes: tuple) -> float | None:
    """The bytes that a kernel has to move in a step, None for those that need not be there or are not ours."""
    B, T, C, V, L = sizes
    parameters, _ = parameters_of(C, V, T, L)
    arrays = {"normalize": 2, "normalize_backward_sums": 3}.get(name, 0) + L * LEAST_A_LAYER.get(name, 0)
    others = {
        "cross_entropy": 2 * B * T * V,  # logits
        "cross_entropy_backward": 2 * B * T * V,  # dlogits
        "adamw": 28 * parameters,  # p, g, m, v; p, m, v
        "square_parts": 4 * parameters,  # g
        "cast": 2 * parameters,  # written by AdamW
        "gather_rows": 2 * B * T * C,
    }
    return others.get(name, 2 * B * T * C * arrays) or None


def allotted(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, tuple[Assembled, float]]]:
    """{kernel: {architecture: (what ptxas allots, occupancy)}}, of the instance with most registers."""
    families = {
        k: family
        for family in (*launching.FAMILIES, "attention_mma", "attention_whole_mma")
        for k in launching.templates(family)
    }
    instances = defaultdict(dict)  # {family: {instance: counts}}
    for full, one in counts.items():
        if kernel_name(full) in families:
            instances[families[kernel_name(full)]][full.removeprefix("void ").partition("(")[0]] = one
    found = defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        for arch in SHARED:
            for family, own in instances.items():
                for instance, one in assembled(family, tuple(own), arch, Path(folder)).items():
                    share = occupancy(arch, one.registers, own[instance]["threads"], own[instance]["shared"])
                    name, pair = kernel_name(instance), (one, share)
                    found[name][arch] = max(found[name].get(arch, pair), pair, key=lambda p: p[0].registers)
    return found


def seconds(name: str, one: dict, gpu: GPU) -> float:
    """The longest of what a kernel has to do."""
    tensor = gpu.products if name == PRODUCTS else gpu.tiles
    return max((one["read"] + one["written"]) / gpu.bandwidth, one["tensor_flops"] / tensor, one["flops"] / gpu.flops)


def each(values: list[str]) -> str:
    """Once, where all are the same.

    >>> each(["40", "40"]), each(["40", "48"]), each([])
    ('40', '40/48', '')
    """
    return "/".join(values if len(set(values)) > 1 else values[:1])


def table(sizes: tuple, launches: dict, large: dict[str, dict], conflicts: dict, held: dict, gpu: GPU) -> str:
    """A line a kernel: launches; GB read, written, and at least; arrays (B, T, C) a layer; GFLOP; conflicts; registers
    and occupancy, as `held` has them from `allotted`; predicted ms."""
    B, T, C, _, L = sizes
    unit = 2 * B * T * C * L  # bytes of an array (B, T, C) of bfloat16 in each layer
    total = {key: sum(one[key] for one in large.values()) for key in QUANTITIES}
    times = {name: seconds(name, one, gpu) for name, one in large.items()}

    def row(name: str, number: int, one: dict, share: float | None, time: float) -> str:
        moved = one["read"] + one["written"]
        needed, on_each = least(name, sizes), held.get(name, {}).values()
        cells = [number, *(f"{one[key] / 1e9:.2f}" for key in ("read", "written"))]
        cells += ["" if needed is None else f"{needed / 1e9:.2f}", f"{moved / unit:.1f}"]
        cells += [*(f"{one[key] / 1e9:,.0f}" for key in ("flops", "tensor_flops"))]
        cells += ["" if share is None else f"{share:.0%}", each([str(one.registers) for one, _ in on_each])]
        cells += [each([f"{full:.0%}" for _, full in on_each]), f"{1e3 * time:.2f}"]
        return f"| {name} | {' | '.join(map(str, cells))} |"

    names = sorted(large, key=lambda name: -times[name])
    return "\n".join(
        [
            "| kernel | launches | GB read | written | at least | arrays a layer | GFLOP | on tensor cores | conflicts "
            "| registers | occupancy | ms |",
            "|---" * 12 + "|",
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
    dry = counted(sizes, FAKE_CUDA_DRY="1")
    exact, held = by_kernel(dry), allotted(dry)
    at_fit, at_check = ([by_kernel(counted(s, FAKE_CUDA_COUNTS="1")) for s in some] for some in (FIT, CHECK))
    found = fit(at_fit, at_check)
    large = found.at(sizes) | {PRODUCTS: exact[PRODUCTS]}
    launches = {name: one["launches"] for name, one in exact.items()}
    some = at_check[0].items()
    conflicts = {name: one["shared_turns"] / one["shared_least"] - 1 for name, one in some if one["shared_least"]}
    print(GPU_SHAPES["gpt2"].about, "in bfloat16; a step")
    nothing = dict.fromkeys(QUANTITIES, 0)  # of kernels that the small steps do not launch
    print(table(sizes, launches, {name: large.get(name, nothing) for name in launches}, conflicts, held, H100))
    spilled = sorted(
        name for name, on_each in held.items() if any(one.spilled or one.stack for one, _ in on_each.values())
    )
    print(f"\nRegisters and occupancy on {', '.join(SHARED)}; kernels that spill: {', '.join(spilled) or 'none'}.")
    print(f"\nThe formula is off by {found.error:.1%} at most on the three shapes that it was not fitted to.")
    print(f"Predicted for {H100.name}: {H100.bandwidth / 1e12} TB/s, {H100.products / 1e12:.0f} TFLOP/s in products.")
    return 0
