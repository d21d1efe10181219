"""benchmarks.gpu runs unattended: every part of it, on CuPy and on PyTorch's CPU, at a size of nothing."""

import json
import subprocess
import sys
import types

import pytest

from benchmarks import gpu
from benchmarks.contenders import on_gpu
from benchmarks.contenders.shapes import Shape
from gpt.config.options import GPTConfig
from nanograd.device.cuda import find_cupy
from nanograd.device.device import KERNELS

TINY = Shape("tiny", 2, GPTConfig(11, block_size=8, n_layer=1, n_head=2, n_embd=16, activation="gelu"))


@pytest.fixture
def busy_for_a_moment(gpu_xp, monkeypatch):
    monkeypatch.setattr(on_gpu, "BUSY", 4)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_ours_and_matmuls(busy_for_a_moment, precision):
    result = gpu.measure(TINY, "nanograd", precision, seconds=0)
    assert result["ms"] > 0 and result["tokens_per_s"] == pytest.approx(16e3 / result["ms"])
    assert {"gemm"} < result["breakdown"].keys() and any("adamw" in name for name in result["breakdown"])
    assert gpu.measure(TINY, "matmuls", precision, seconds=0)["memory"] > 0


@pytest.mark.slow
def test_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(on_gpu.CONTENDERS, "torch eager", lambda *a: on_gpu.in_torch(*a, compiled=False, where="cpu"))
    try:
        assert gpu.measure(TINY, "torch eager", "bfloat16", seconds=0)["ms"] > 0
    finally:
        torch.set_default_device(None)
        torch.set_float32_matmul_precision("highest")


@pytest.mark.slow
def test_the_check_passes_here_and_fails_for_a_wrong_kernel(busy_for_a_moment, monkeypatch):
    small = GPTConfig(11, block_size=8, n_layer=1, n_head=2, n_embd=16, activation="gelu", dropout=0.1)
    assert gpu.check(small, steps=3)["float64"] < 1e-9
    right = KERNELS["gelu_backward"]

    def wrong(layer, dy, *settings, **options):
        layer.remember(dy, None)  # instead of x and the bias
        return right(layer, dy, *settings, **options)

    monkeypatch.setitem(KERNELS, "gelu_backward", wrong)
    with pytest.raises(SystemExit, match="float64 is wrong"):
        gpu.check(small, steps=3)


def test_flop_by_hand():
    config = GPTConfig(10, block_size=4, n_layer=2, n_head=1, n_embd=8)
    assert gpu.flop_per_token(config) == 6 * (12 * 2 * 64 + 80) + 12 * 2 * 8 * 4


def test_table_has_what_was_measured_and_what_was_not():
    result = {"ms": 10.0, "tokens_per_s": 1600.0, "memory": 2**30, "breakdown": {"gemm": 4.0}}
    result |= {"low_ms": 9.0, "high_ms": 12.0, "unsteady": ["nanograd"], "busy": [0.25, 0.5]}
    rows = [("nanograd", "bfloat16", result), ("torch eager", "tf32", "left out: no time")]
    text = gpu.table(TINY, rows, "NVIDIA H200") + gpu.breakdowns(rows)
    assert "10.0 (9.00 to 12.0)" in text or "10.0 (9.0 to 12.0)" in text
    assert "NOT STEADY: nanograd, bfloat16" in text and "busy to 25% before and 50% after" in text
    assert "1,600" in text and "left out: no time" in text and "4.000  gemm" in text


def test_without_a_gpu_it_ends_with_one_line():
    if find_cupy()[0] is None:
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_shapes_take_turns():
    assert gpu.in_turn({"a": [1, 2, 3], "b": [4]}) == [("a", 1), ("b", 4), ("a", 2), ("a", 3)]
    assert len(gpu.in_turn(gpu.PLAN)) == sum(map(len, gpu.PLAN.values()))


@pytest.mark.parametrize("missing", [True, False])
def test_pytorch_that_cannot_be_used_is_one_line(monkeypatch, missing):
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False), __version__="2.0")
    monkeypatch.setitem(sys.modules, "torch", None if missing else torch)
    with pytest.raises(SystemExit, match="not installed" if missing else "cannot use this GPU"):
        on_gpu.in_torch(TINY, "bfloat16", compiled=False)


def test_a_contender_that_fails_is_a_line_and_not_the_end(monkeypatch):
    assert "no time" in gpu.in_a_process([], seconds=1)
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nRuntimeError: it broke\nsee the manual")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: failed)
    assert gpu.in_a_process([], seconds=60) == "failed: RuntimeError: it broke"
    done = subprocess.CompletedProcess([], 0, json.dumps({"ms": 1}), "")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: done)
    assert gpu.in_a_process([], seconds=60) == {"ms": 1}
