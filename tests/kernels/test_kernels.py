"""Every CUDA kernel against its definition, on a GPU or through tools/cuda_on_cpu; and what NVIDIA's compilers say."""

import functools
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt
import nanograd
from nanograd import Device, kernels
from nanograd.device.device import KERNELS
from nanograd.layers.activations import GELU
from nanograd.layers.attention import Attention
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.swiglu import SwiGLU
from nanograd.optim.arena import arenas_of
from tests.support.gpu.both_devices import PRECISIONS, Maker, assert_close, in_every_order, stream_of


def rotation(m, N, C, layout, backward):
    """Arguments of `rotate`: N positions of 3 heads of 2 C channels. Its scratch is the definition's alone."""
    tables = RoPE(2 * C, layout).tables(5, 5 + N, np.zeros(0, m.device.parameter_dtype))
    x, y = m.act(2, N, 3, 2 * C), m.act(2, N, 3, 2 * C)
    return [x, *(m.pair(t, t.dtype) for t in tables), layout, backward, y, lambda: np.empty(x[0].shape)]


# What each kernel is called with: a list of pairs (host, device), or of plain values for both. N rows, C channels.
CASES = {
    "add": lambda m, N, C: [m.act(N, C), m.act(N, C), m.act(N, C)],
    "add a row": lambda m, N, C: [m.act(2, N, C), m.par(N, C), m.act(2, N, C)],
    "add_rows": lambda m, N, C: [m.act(N, C), m.par(C)],
    "fill_rows": lambda m, N, C: [m.act(N, C), m.par(C)],
    "scale_rows": lambda m, N, C: [m.act(N, C), m.par(C), m.act(N, C)],
    "finish_branch": lambda m, N, C: [m.act(N, C), m.par(C), m.act(N, C), m.act(N, C)],
    "finish_branch bias alone": lambda m, N, C: [m.act(N, C), m.par(C), None, None],
    "finish_branch no bias": lambda m, N, C: [m.act(N, C), None, None, m.act(N, C)],
    "finish_branch mask alone": lambda m, N, C: [m.act(N, C), None, m.act(N, C), None],
    "multiply": lambda m, N, C: [m.act(N, C), m.act(N, C), m.act(N, C)],
    "cast": lambda m, N, C: [m.par(N, C), m.act(N, C)],
    "relu": lambda m, N, C: [m.act(N, C), m.par(C), m.act(N, C)],
    "relu no bias": lambda m, N, C: [m.act(N, C), None, m.act(N, C)],
    "relu_backward": lambda m, N, C: [m.act(N, C), m.act(N, C), m.act(N, C)],
    "relu_squared": lambda m, N, C: [m.act(N, C), m.par(C), m.act(N, C), m.act(N, C)],
    "relu_squared no bias": lambda m, N, C: [m.act(N, C), None, m.act(N, C), m.act(N, C)],
    "relu_squared_backward": lambda m, N, C: [m.act(N, C), m.act(N, C), m.act(N, C)],
    "rms_normalize": lambda m, N, C: [m.act(N, C), m.par(C), 1e-5, m.act(N, C), m.act(N, C)],
    "rms_normalize no weight": lambda m, N, C: [m.act(2, N, C), None, 1e-5, m.act(2, N, C), m.act(2, N, C)],
    "rotate half": lambda m, N, C: rotation(m, N, C, "half", False),
    "rotate half back": lambda m, N, C: rotation(m, N, C, "half", True),
    "rotate interleaved": lambda m, N, C: rotation(m, N, C, "interleaved", False),
    "normalize": lambda m, N, C: [m.act(N, C), m.par(C), m.par(C), 1e-5, m.act(N, C), m.act(N, C)],
    "normalize no bias": lambda m, N, C: [m.act(N, C), m.par(C), None, 1e-5, m.act(N, C), m.act(N, C)],
    "add_positions": lambda m, N, C: [m.act(N, C), m.par(C)],
    "add_positions many": lambda m, N, C: [m.act(40 * N, C), m.par(C)],
    "add_parts": lambda m, N, C: [m.par(N, C), m.par(C), True],
    "add_parts overwriting": lambda m, N, C: [m.par(N, C), m.par(C), False],
    "dot_channels": lambda m, N, C: [m.act(2, N, C), m.act(2, N, C)],
    "square_sum": lambda m, N, C: [m.par(N * C)],
    "masked_exp_backward": lambda m, N, C: [m.act(2, N, C), m.act(2, N, C), m.act(2, N, 1), m.act(2, N, C)],
    "masked_exp_backward no mask": lambda m, N, C: [m.act(2, N, C), m.act(2, N, C), m.act(2, N, 1), None],
    "gather_rows": lambda m, N, C: [m.par(5, C), m.ids(5, N), m.act(N, C)],
    "scatter_add_rows": lambda m, N, C: [m.par(4, C), m.ids(3, 6 * N), m.act(6 * N, C)],
    "draw_mask": lambda m, N, C: [m.act(3, N, C), stream_of, 0.3],
    "draw_mask aligned": lambda m, N, C: [m.act(3, N, C), lambda: stream_of(8), 0.3],
    "drop aligned": lambda m, N, C: [m.act(3, N, C), lambda: stream_of(8), 0.3, m.act(3, N, C), m.act(3, N, C)],
    "drop": lambda m, N, C: [m.act(3, N, C), stream_of, 0.3, m.act(3, N, C), m.act(3, N, C)],
    "momentum_update": lambda m, N, C: [m.par(N * C), m.par(N * C), m.par(N * C), 0.9, 0.5],
    "add_update": lambda m, N, C: [m.par(N * C), m.par(N * C), 1e-2, 0.1, 0.5],
    "adamw_update": lambda m, N, C: [
        *(m.par(N * C), m.par(N * C), m.par(N * C), m.positive(N * C)),
        *(1e-2, 0.9, 0.95, 1e-8, 0.1, 0.3, 0.2, 0.5),
    ],
}
BY_HAND = {
    *("swiglu_forward", "swiglu_backward", "rms_normalize_backward"),
    *("gelu_forward", "gelu_backward", "normalize_backward", "masked_exp", "cached_attention"),
    *("attention_forward", "attention_backward", "cross_entropy", "cross_entropy_backward"),
}  # tests of their own below, as kernel and definition may differ in something that does not matter


def on_both(device, definition, kernel, make, N, C):
    """The results of a definition and of its kernel: two lists of float64 arrays on the host."""
    m = Maker(device, N)
    arguments = make(m, N, C)
    is_pair = [isinstance(a, tuple) for a in arguments]
    sides = []
    for side, function in enumerate((definition, kernel)):
        values = [a[side] if pair else a() if callable(a) else a for a, pair in zip(arguments, is_pair, strict=True)]
        returned = function(*values)
        returned = returned if isinstance(returned, tuple) else (returned,)
        arrays = [v for v, pair in zip(values, is_pair, strict=True) if pair] + [r for r in returned if r is not None]
        sides.append([np.asarray(a.get() if hasattr(a, "get") else a, dtype=np.float64) for a in arrays])
    return sides


@functools.cache
def definitions() -> dict:
    """{name: definition} of everything marked @fused, and of layers' methods that have a kernel."""
    found = {}
    for package in (nanograd, gpt):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                if hasattr(value, "definition") and getattr(value, "__module__", None) == info.name:
                    found[name] = value.definition
    layers = {"attention": Attention, "gelu": GELU, "swiglu": SwiGLU}
    ways = ("forward", "backward")
    return found | {f"{name}_{way}": getattr(kind, way).definition for name, kind in layers.items() for way in ways}


def test_every_fused_function_has_a_kernel_and_a_test():
    tested = {case.split()[0] for case in CASES} | BY_HAND
    assert definitions().keys() == tested
    for name in definitions():
        assert KERNELS[name] is getattr(kernels, name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("N", "C"), [(3, 5), (37, 33), (4, 64)])
@pytest.mark.parametrize("case", CASES)
def test_kernel_agrees_with_definition(gpu_xp, case, N, C, precision):
    device = Device(gpu_xp, precision)
    name = case.split()[0]
    expected, actual = on_both(device, definitions()[name], getattr(kernels, name), CASES[case], N, C)
    assert_close(expected, actual, precision, case)


@pytest.mark.parametrize("case", CASES)
def test_results_do_not_depend_on_the_order_of_threads(gpu_xp, monkeypatch, case):
    device, kernel = Device(gpu_xp, "float32"), getattr(kernels, case.split()[0])
    in_every_order(monkeypatch, lambda: on_both(device, lambda *_: None, kernel, CASES[case], 37, 33)[1])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "size"), [(1, 7), (1, 1024), (400, 9)])
@pytest.mark.parametrize("inplace", [False, True])
def test_gelu(gpu_xp, rows, size, inplace, biased, precision):
    device = Device(gpu_xp, precision)
    m = Maker(device, size)
    (x, x_device), (dy, dy_device) = m.act(3, rows, size), m.act(3, rows, size)
    bias, bias_device = m.par(size) if biased else (None, None)
    dbias, dbias_device = m.par(size) if biased else (None, None)
    layer, on_gpu = GELU(), GELU()
    expected = [layer(x, bias=bias), layer.backward(dy, dbias=dbias), *[dbias] * biased]
    y_device = on_gpu(x_device, bias=bias_device)
    dx_device = on_gpu.backward(dy_device, inplace, dbias_device)
    assert (dx_device is dy_device) == inplace
    actual = [y_device, dx_device, *[dbias_device] * biased]
    assert_close(expected, [a.get().astype(float) for a in actual], precision, "gelu")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("N", "C"), [(3, 5), (37, 33), (100, 64), (1030, 40)])
def test_normalize_backward(gpu_xp, N, C, residual, precision):
    def make(m, N, C):
        rest, dbias = m.act(N, C) if residual else None, None if residual else m.par(C)
        return [m.act(N, C), m.par(C), m.act(N, C), m.positive(N, 1), m.act(N, C), m.act(N, C), rest, m.par(C), dbias]

    device = Device(gpu_xp, precision)
    name = "normalize_backward"
    expected, actual = on_both(device, definitions()[name], getattr(kernels, name), make, N, C)
    del expected[5], actual[5]  # scratch, which only the definition needs
    assert_close(expected, actual, precision, name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("N", "C"), [(1, 5), (37, 33), (150, 64), (70, 1000)])
def test_layernorm_with_parameters_in_an_arena(gpu_xp, N, C, residual, bias, precision):
    rng, gpu, results = np.random.default_rng(N), Device(gpu_xp, precision), []
    host = [rng.standard_normal((N, C)).astype(gpu.dtype) for _ in range(4)]
    weight = rng.standard_normal(C).astype(gpu.parameter_dtype)
    for device in (Device("numpy", "float64"), gpu):
        norm = LayerNorm(C, bias, device=device)
        arenas_of(norm)
        norm.weight.value[...] = device.asarray(weight.astype(device.parameter_dtype))
        x, rest, *dys = (device.asarray(a.astype(device.dtype)) for a in host)
        for dy in dys:  # the second is added to what the first one left
            norm(x)
            dx = norm.backward(dy, rest if residual else None)
        results.append([np.array(device.to_host(a), np.float64) for a in (dx, *(p.grad for p in norm.parameters()))])
    assert_close(*results, precision, "layernorm")


def test_layernorm_does_not_depend_on_the_order_of_threads(gpu_xp, monkeypatch):
    device, rng = Device(gpu_xp, "float32"), np.random.default_rng(0)
    norm = LayerNorm(33, device=device)
    arenas_of(norm)
    x, dy = (device.asarray(rng.standard_normal((140, 33)).astype(np.float32)) for _ in range(2))

    def compute():
        norm.zero_grad()
        norm(x)
        return [device.to_host(a) for a in (norm.backward(dy), norm.weight.grad, norm.bias.grad)]

    in_every_order(monkeypatch, compute)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [7, 1024])
@pytest.mark.parametrize("inplace", [False, True])
def test_swiglu(gpu_xp, size, inplace, precision):
    device = Device(gpu_xp, precision)
    m = Maker(device, size)
    pairs = [m.act(size) for _ in range(3)]
    results = []
    for side in range(2):
        (gate, up, dy), layer = (pair[side] for pair in pairs), SwiGLU()
        y = layer(gate.copy(), up.copy(), inplace=inplace)
        results.append([np.array(device.to_host(a), np.float64) for a in (y, *layer.backward(dy))])
    assert_close(*results, precision, "swiglu")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize(("N", "C"), [(3, 5), (37, 33), (100, 64)])
def test_rms_normalize_backward(gpu_xp, N, C, weight, residual, precision):
    def make(m, N, C):
        rest = m.act(N, C) if residual else None
        return [
            m.act(N, C),
            m.par(C) if weight else None,
            m.act(N, C),
            m.positive(N, 1),
            m.act(N, C),
            m.act(N, C),
            rest,
            m.par(C) if weight else None,
        ]

    device = Device(gpu_xp, precision)
    name = "rms_normalize_backward"
    expected, actual = on_both(device, definitions()[name], getattr(kernels, name), make, N, C)
    scratch = 4 + weight
    del expected[scratch], actual[scratch]  # which only the definition needs
    assert_close(expected, actual, precision, name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("D", "weight"), [(6, True), (32, False)])
def test_queries_in_a_wider_array_are_normalised_and_rotated_where_they_are(gpu_xp, D, weight, precision):
    gpu, rng = Device(gpu_xp, precision), np.random.default_rng(D)
    host = [rng.standard_normal((2, 5, 4 * D)).astype(gpu.dtype) for _ in range(2)]  # three heads and what is beside
    results = []
    for device in (Device("numpy", "float64"), gpu):
        norm, rope = RMSNorm(D, weight, device=device), RoPE(D)
        qkv, dqkv = (device.asarray(a.astype(device.dtype)) for a in host)
        q, dq = (a.reshape(2, 5, 4, D)[:, :, :3] for a in (qkv, dqkv))
        norm(q, out=q)
        rope(q, 3, inplace=True)
        rope.backward(dq, inplace=True)
        norm.backward(dq, out=dq)
        results.append([qkv, dqkv, *(p.grad for p in norm.parameters())])
        results[-1] = [np.array(device.to_host(a), np.float64) for a in results[-1]]
    assert_close(*results, precision, "in a wider array")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("N", "C"), [(1, 9), (5, 5), (37, 70)])
def test_masked_exp_is_the_same_softmax(gpu_xp, N, C, precision):
    def make(m, N, C):
        return [m.act(2, N, C)]

    device = Device(gpu_xp, precision)
    (e, z), (e_device, z_device) = on_both(device, definitions()["masked_exp"], kernels.masked_exp, make, N, C)
    assert_close([e / z], [e_device / z_device], precision, "masked_exp")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("N", "V"), [(3, 5), (4, 64), (2, 8200)])
@pytest.mark.parametrize("scale", [1, 1e4])
@pytest.mark.parametrize("inplace", [False, True])
def test_cross_entropy(gpu_xp, N, V, scale, inplace, precision):
    device = Device(gpu_xp, precision)
    m = Maker(device, N)
    logits, logits_device = m.pair(m.rng.standard_normal((N, V)) * scale, device.dtype)
    (targets, targets_device), (e, e_device) = m.ids(V, N), m.act(N, V)
    if inplace:
        e, e_device = logits, logits_device
    losses, z = definitions()["cross_entropy"](logits, targets, e)
    losses_device, z_device = kernels.cross_entropy(logits_device, targets_device, e_device)
    assert_close([losses], [losses_device.get().astype(float)], precision, "loss")
    definitions()["cross_entropy_backward"](e, z, targets, 0.25)
    kernels.cross_entropy_backward(e_device, z_device, targets_device, 0.25)
    assert_close([e], [e_device.get().astype(float)], precision, "gradient")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cross_entropy_of_logits_that_are_infinite(gpu_xp, precision):
    """-infinity has the probability 0; a row of nothing else, one with NaN and one with infinity have no loss."""
    device = Device(gpu_xp, precision)
    rows = np.zeros((5, 300))
    rows[0, :290], rows[1], rows[2, 7], rows[3, 7], rows[4, 0] = -np.inf, -np.inf, np.nan, np.inf, -np.inf
    logits, targets = device.asarray(rows.astype(device.dtype)), device.asarray(np.full(5, 299, np.int32))
    losses, z = kernels.cross_entropy(logits, targets, logits)
    assert_close([np.log([10, 299])], [losses.get().astype(float)[[0, 4]]], precision, "loss")
    assert not np.isfinite(losses.get()[1:4]).any()
    kernels.cross_entropy_backward(logits, z, targets, 1.0)
    assert not logits.get()[0, :290].any()


def test_scatter_add_rows_with_atomics(gpu_xp):
    device = Device(gpu_xp, "float32")
    expected, actual = on_both(
        device,
        definitions()["scatter_add_rows"],
        functools.partial(kernels.scatter_add_rows, atomics=True),
        CASES["scatter_add_rows"],
        9,
        33,
    )
    assert_close(expected, actual, "float32", "atomics")


def test_adamw_changes_nothing_when_the_gradient_is_not_finite(gpu_xp):
    device = Device(gpu_xp, "float32")
    arrays = [device.asarray(np.full(5, value, np.float32)) for value in (1, np.nan, 0.1, 0.1)]
    norm = gpu_xp.sqrt(kernels.square_sum(arrays[1]))
    scale = gpu_xp.minimum(1.0, 1.0 / (norm + 1e-6))
    kernels.adamw_update(*arrays, 1e-2, 0.9, 0.95, 1e-8, 0.1, 0.3, 0.2, scale)
    for array, value in zip(arrays, (1, np.nan, 0.1, 0.1), strict=True):
        np.testing.assert_array_equal(array.get(), np.full(5, value, np.float32))


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer_finds_nothing(tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed; tools/cuda_on_cpu looks for the same")
    # Every array is an allocation of its own, or a tool would not see who writes beside one.
    environment = os.environ | {"NANOGRAD_NO_POOL": "1"}
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-m",
        "gpu",
        "-k",
        "agrees or attention",
        str(Path(__file__).parent),
    ]
    command = [sanitizer, "--tool", tool, "--error-exitcode", "7", *tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 7, done.stdout[-4000:]
