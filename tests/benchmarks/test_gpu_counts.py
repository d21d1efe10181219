"""What a training step asks of a GPU: launches and bytes are held here; that the counting adds up."""

import numpy as np
import pytest

from benchmarks import gpu_counts
from benchmarks.gpu_counts import CHECK, FIT, PRODUCTS, by_kernel, counted, fit, kernel_name, seconds, terms
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


def test_the_longest_of_what_a_kernel_has_to_do_is_its_time():
    gpu = gpu_counts.GPU("", bandwidth=10, products=100, tiles=50, flops=20)
    work = {"read": 6, "written": 4, "flops": 0, "tensor_flops": 0}
    assert seconds("a", work, gpu) == 1
    assert seconds("a", work | {"tensor_flops": 100}, gpu) == 2
    assert seconds(PRODUCTS, work | {"tensor_flops": 100}, gpu) == 1
    assert seconds("a", work | {"flops": 60}, gpu) == 3


# What a step may take. Where one of these grows there should be a reason; where it shrinks, write down the new number.
LAUNCHES, LAUNCHES_A_LAYER = 75, 35
ARRAYS_A_LAYER = 77  # (B, T, C) of bfloat16 that kernels read or write in a layer, but for cuBLAS
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

    def moved(step):
        return sum(
            k["read"] + k["written"]
            for name, k in step.items()
            if name not in (PRODUCTS, "adamw", "cast", "square_parts")
        )

    assert (moved(two) - moved(one)) / (2 * B * T * C) == pytest.approx(ARRAYS_A_LAYER, abs=1)
    assert (moved(wide) - moved(one)) / (2 * B * T * V) == pytest.approx(LOGITS, abs=0.3)
