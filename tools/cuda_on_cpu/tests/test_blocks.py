"""Blocks of threads, barriers, failures and races."""

import numpy as np
import pytest
from cuda_kernels import RNG, library, pointer, source


@pytest.mark.parametrize("order", ["0", "1", "2"])
def test_blocks(order, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_ORDER", order)
    lib, out = library(source("blocks")), np.zeros(256, "i4")
    a = RNG.integers(1, 100, 96).astype("i4")
    lib.launch("counts", (1,), (96,), [pointer(a), pointer(out)])
    assert list(out[:3]) == [(a > 50).sum(), 1, 0]
    x, total = RNG.random(5000).astype("f4"), np.zeros(1, "f4")
    lib.launch("reduce", (3,), (128,), [pointer(x), pointer(total), np.array(5000, "i4")], 512)
    assert total[0] == pytest.approx(x.sum(), rel=1e-5)
    i = np.arange(100)
    lib.launch("paths", (1,), (128,), [pointer(out)])
    np.testing.assert_array_equal(out[:100], np.where(i % 2, 10 * (i - 1), i + 1))
    lib.launch("named", (1,), (128,), [pointer(out)])
    np.testing.assert_array_equal(out[:128], np.arange(128) ^ 32)
    lib.launch("producer", (1,), (64,), [pointer(out)])
    np.testing.assert_array_equal(out[:32], np.arange(32) * 3)
    shaped = np.zeros(6 * 24, "i4")
    lib.launch("shape", (3, 2), (2, 3, 4), [pointer(shaped)])
    np.testing.assert_array_equal(
        shaped.reshape(6, 4, 3, 2), sum(np.ogrid[:6, :4, :3, :2][k] * f for k, f in enumerate((1000, 100, 10, 1)))
    )
    for name, block, shared, message in (
        ("never", 64, 0, r"deadlock; of 64 threads 64 wait at a barrier"),
        ("lane_never", 32, 0, "31 for other lanes"),
        ("trapped", 32, 0, r"thread \(5, 0, 0\): trap"),
        ("odd_address", 1, 0, "misaligned address"),
        ("wild", 1, 0, "illegal address 0x10"),
        ("wild_together", 32, 0, r"thread \(0, 0, 0\): illegal address"),
        ("beside", 64, 256, r"shared address \d+ \(4 bytes\) is outside of the block's 256 bytes"),
        ("asserts", 32, 0, r"assertion `out\[threadIdx.x\] == 0` failed \(kernel.cu:12, asserts\)"),
        ("small", 65, 0, "refuses blocks"),
        ("shape", 2000, 0, "refuses blocks"),
        ("reduce", 32, 300000, "too many"),
    ):
        out[:] = 1
        with pytest.raises(RuntimeError, match=message):
            lib.launch(name, (1,), (block,), [pointer(out)] * 3, shared)
    attribute = lambda name, what: lib.library.ptx_attribute(name, what)  # noqa: E731
    assert [attribute(b"small", k) for k in range(3)] == [25, 64, 8] and [
        attribute(b"reduce", k) for k in range(3)
    ] == [0, 1024, 20]
    assert lib.library.ptx_has(b"small") == 1 and lib.library.ptx_has(b"none") == 0


def test_a_race_shows_in_another_order(monkeypatch):
    results = []
    for order in "012":
        monkeypatch.setenv("FAKE_CUDA_ORDER", order)
        out = np.zeros(64, "i4")
        library(source("blocks")).launch("race", (1,), (64,), [pointer(out)])
        results.append(out.tolist())
    assert results[0] != results[1] != results[2]


@pytest.mark.parametrize("order", ["0", "1", "2"])
def test_races_are_found(order, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_ORDER", order)
    lib, out = library(source("races"), "sm_80", flags=("RACES",)), np.zeros(512, "i4")
    for name, threads, message in (
        (
            "missing_barrier",
            64,
            r"race: it (reads|writes) shared address \d+ .*, which thread \d+ has (written|read), with no barrier",
        ),
        ("no_second_barrier", 64, "race: .* shared address"),
        ("two_blocks", 64, "race: it writes address .* in another block"),
        ("plain_beside_atomic", 32, "race: it (updates|writes)"),
        ("shuffle_only", 32, "race: .* shared"),
        ("block_reads_then_other_writes", 1, "race: it writes address"),
        ("bad_warp", 64, "race: .* shared"),
    ):
        with pytest.raises(RuntimeError, match=message):
            lib.launch(name, (3,), (threads,), [pointer(out)])
    lib.launch("good", (1,), (64,), [pointer(out)])
    with pytest.raises(RuntimeError, match="lanes 0 and 1 of a warp are at different barriers, of lines"):
        library(source("blocks"), "sm_80", flags=("RACES",)).launch("paths", (1,), (128,), [pointer(out)])
    for name in ("good", "good_warp", "good_atomics"):
        lib.launch(name, (3 if name == "good_atomics" else 1,), (64,), [pointer(out)])


def test_counts_of_a_launch():
    """Bytes of global memory, operations, and the turns that the banks of shared memory take."""
    lib = library(source("counts"), flags=("COUNTS",))
    x, out = RNG.standard_normal((2, 256)).astype("f4"), np.zeros(256, "f4")
    lib.launch("axpy", (2,), (128,), [pointer(x[0]), pointer(x[1]), pointer(out)])
    np.testing.assert_allclose(out, 3 * x[0] + x[1], atol=1e-6)
    counts = lib.counts()
    assert (counts["read"], counts["written"], counts["flops"], counts["tensor_flops"]) == (2048, 1024, 512, 0)
    assert 2048 <= counts["sectors_read"] <= 2048 + 64 and 1024 <= counts["sectors_written"] <= 1024 + 32
    lib.launch("every_thread_the_same", (4,), (64,), [pointer(x), pointer(out)])
    counts = lib.counts()
    assert (counts["read"], counts["sectors_read"]) == (4 * 64 * 4, 32)
    for stride, turns in ((1, 1), (2, 2), (32, 32), (33, 1), (0, 1)):
        lib.launch("strided", (1,), (32,), [pointer(out), np.array(stride, "i4")])
        counts = lib.counts()
        assert (counts["shared_turns"], counts["shared_least"]) == (turns, 1), stride
    lib.launch("wide", (1,), (32,), [pointer(out)])
    counts = lib.counts()
    assert counts["shared_turns"] == counts["shared_least"] == 4  # 16 bytes a lane: a quarter of the warp at a time
