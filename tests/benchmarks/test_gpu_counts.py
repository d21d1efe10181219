"""What a training step asks of a GPU: launches and bytes are held here; that the counting adds up."""

import numpy as np
import pytest

from benchmarks import gpu_counts
from benchmarks.gpu_counts import (
    CHECK,
    FIT,
    PRODUCTS,
    allotted,
    by_kernel,
    counted,
    fit,
    kernel_name,
    least,
    parameters_of,
    seconds,
    shape_of,
    terms,
    terms_of,
)
from benchmarks.gpu_counts.assembled import Assembled, occupancy, ptxas, read_report
from gpt import GPT
from nanograd import Device
from nanograd.optim.arena import arenas_of
from tools.cuda_on_cpu.counts import is_fake


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("void add_row<bfloat16, 8>(bfloat16 const*, long long)", "add_row"),
        ("cublasGemmEx", PRODUCTS),
        ("cupy_add__float32_float32_float32", "scalars and sums (CuPy)"),
        ("memset", "memset"),
    ],
)
def test_names(full, name):
    assert kernel_name(full) == name


def test_a_sum_of_the_terms_is_found_again():
    factors = np.random.default_rng(0).integers(0, 9, len(terms(1, 1, 1, 1, 1)))

    def counts(sizes):
        value = int(factors @ terms(*sizes))
        return {"a": dict.fromkeys(gpu_counts.QUANTITIES, value), PRODUCTS: dict.fromkeys(gpu_counts.QUANTITIES, 1)}

    found = fit([counts(sizes) for sizes in FIT], [counts(sizes) for sizes in CHECK])
    assert found.error < 1e-6 and found.factors.keys() == {"a"}
    large = 16, 1024, 768, 50304, 12
    assert found.at(large)["a"]["read"] == pytest.approx(factors @ terms(*large), rel=1e-3)
    wrong = [counts(sizes) | {"b": dict.fromkeys(gpu_counts.QUANTITIES, 10**9)} for sizes in CHECK]
    assert fit([counts(sizes) for sizes in FIT], wrong).error > 0.5


def test_kernels_over_the_arenas_do_some_things_once_a_thread_and_some_for_each_number():
    sizes = _, T, C, V, L = 1, 64, 256, 128, 2
    model = GPT(shape_of(*sizes).model, Device("numpy"))
    arenas = [arena.values.size for arena in arenas_of(model)]
    assert tuple(arenas) == parameters_of(C, V, T, L)
    assert terms_of("adamw", "flops", sizes) == [1, sum(arenas), 4096 * 256 + arenas[1]]
    assert terms_of("square_parts", "read", sizes) == [1, sum(arenas), 1024 * 256 + arenas[1]]
    assert terms_of("gelu", "read", sizes) == terms(*sizes)


@pytest.mark.parametrize(("T", "beyond"), [(64, 0), (128, 0), (192, 64), (1024, 896)])
def test_sums_of_dq_lie_in_memory_beyond_the_first_tile_of_keys(T, beyond):
    sizes = 2, T, 64, 128, 3
    for key in ("read", "written"):
        assert terms_of("attention_whole_mma", key, sizes) == [*terms(*sizes), 2 * beyond * 64 * 3]
    assert terms_of("attention_whole_mma", "flops", sizes) == terms(*sizes)


def test_the_longest_of_what_a_kernel_has_to_do_is_its_time():
    gpu = gpu_counts.GPU("", bandwidth=10, products=100, tiles=50, flops=20)
    work = {"read": 6, "written": 4, "flops": 0, "tensor_flops": 0}
    assert seconds("a", work, gpu) == 1
    assert seconds("a", work | {"tensor_flops": 100}, gpu) == 2
    assert seconds(PRODUCTS, work | {"tensor_flops": 100}, gpu) == 1
    assert seconds("a", work | {"flops": 60}, gpu) == 3


REPORT = """ptxas info    : Compiling entry function '_Z3addv' for 'sm_90'
ptxas info    : Function properties for _Z3addv
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem
ptxas info    : Compiling entry function '_Z3subv' for 'sm_90'
ptxas info    : Function properties for _Z3subv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 7 registers
"""


def test_what_the_assembler_says_is_read():
    assert read_report(REPORT) == [("_Z3addv", Assembled(40, 8, 4)), ("_Z3subv", Assembled(7, 0, 0))]


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "share"),
    [
        *((32, 256, 0, 1), (33, 256, 0, 0.75), (64, 1024, 0, 0.5), (16, 32, 0, 0.5)),
        *((32, 128, 75 * 1024, 0.1875), (32, 128, 76 * 1024, 0.125)),
    ],
)
def test_a_multiprocessor_holds_what_registers_blocks_and_shared_memory_allow(registers, threads, shared, share):
    assert occupancy("sm_90", registers, threads, shared) == share


@pytest.mark.slow
def test_no_kernel_of_a_step_spills(gpu_xp):
    if not is_fake(gpu_xp) or ptxas() is None:
        pytest.skip("this takes the names of kernels from tools/cuda_on_cpu and their registers from ptxas")
    held = allotted(counted((1, 64, 64, 128, 1), FAKE_CUDA_DRY="1"))
    assert {"attention_whole_mma", "add_row", "column_parts", "adamw"} <= held.keys()
    for name, on_each in held.items():
        for arch, (one, share) in on_each.items():
            assert not one.spilled and not one.stack and 0 < share <= 1, (name, arch)


# What a step may take. Where one of these grows there should be a reason; where it shrinks, write down the new number.
LAUNCHES, LAUNCHES_A_LAYER = 64, 25
ARRAYS_A_LAYER = 58  # (B, T, C) of bfloat16 that kernels read or write in a layer, but for cuBLAS
LOGITS = 3  # passes over the logits, but for cuBLAS


@pytest.mark.slow
def test_launches_and_bytes_of_a_step(gpu_xp):
    if not is_fake(gpu_xp):
        pytest.skip("a GPU does not count; tools/cuda_on_cpu does")
    B, T, C, V = 2, 128, 64, 256
    one, two, wide = (
        by_kernel(counted(sizes, FAKE_CUDA_COUNTS="1"))
        for sizes in ((B, T, C, V, 1), (B, T, C, V, 2), (B, T, C, 2 * V, 1))
    )
    launches = [sum(kernel["launches"] for kernel in step.values()) for step in (one, two)]
    assert (launches[0], launches[1] - launches[0]) == (LAUNCHES, LAUNCHES_A_LAYER)

    for name, kernel in one.items():
        assert kernel["read"] + kernel["written"] >= 0.99 * (least(name, (B, T, C, V, 1)) or 0), name

    def moved(step):
        return sum(
            k["read"] + k["written"]
            for name, k in step.items()
            if name not in (PRODUCTS, "adamw", "cast", "square_parts")
        )

    assert (moved(two) - moved(one)) / (2 * B * T * C) == pytest.approx(ARRAYS_A_LAYER, abs=1)
    assert (moved(wide) - moved(one)) / (2 * B * T * V) == pytest.approx(LOGITS, abs=0.3)
