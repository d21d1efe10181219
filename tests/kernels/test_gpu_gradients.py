"""The gradient battery in float64 with the CUDA kernels, and long runs against NumPy's.

Like all tests with `gpu_xp` they need a GPU, or tools/cuda_on_cpu in place of one: `-m gpu`.
"""

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.config.options import TrainConfig
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.gradcheck.check import check_layer
from tests.support import battery
from tests.support.marks import long, slow

# Many products, so many kernels: a block is checked with the slow tests, its attention only as a part of it.
MARKS = {"Block": slow, "CausalSelfAttention": long}


@pytest.mark.parametrize("full", [False, long(True)])
@pytest.mark.parametrize("name", [MARKS.get(name, pytest.param)(name) for name in battery.BATTERY])
def test_gradients_of_layer(gpu_xp, monkeypatch, name, full):
    device = Device(gpu_xp, "float64", seed=3)
    monkeypatch.setattr(battery, "DEVICE", device)
    layer, inputs = battery.BATTERY[name](battery.Sizes())
    report = check_layer(layer, *map(device.asarray, inputs), full=full)
    assert report.ok, report


def curve(device, steps, shape, batch_size=4):
    """(loss, gradient norm) of each step of a short training."""
    tokens = np.random.default_rng(0).zipf(1.4, 5000).clip(1, shape.vocab_size).astype(np.uint16) - 1
    config = TrainConfig(batch_size=batch_size, block_size=shape.block_size, max_steps=steps, warmup_steps=5, lr=1e-3)
    trainer = Trainer(GPT(shape, device), config, tokens, tokens, 1)
    results = [trainer.train_step() for _ in range(steps)]
    return np.array([[float(result.loss), float(result.grad_norm)] for result in results])


SMALL = GPTConfig(17, block_size=8, n_layer=2, n_head=2, n_embd=16, activation="gelu", dropout=0.1, tie_weights=True)
LATER = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "qk_norm": "rms_weight"}


@pytest.mark.parametrize(("precision", "bound"), [("float64", 1e-10), ("float32", 1e-4)])
def test_later_blocks_train_as_numpys_do(gpu_xp, precision, bound):
    shape = GPTConfig(17, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1, bias=False, **LATER)
    expected, actual = (curve(Device(where, precision), 6, shape) for where in ("numpy", gpu_xp))
    np.testing.assert_allclose(actual, expected, rtol=bound)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("float64", 1e-9), long("float32", 1e-3)])
def test_200_steps_follow_numpy(gpu_xp, precision, bound):
    expected, actual = curve(Device("numpy", precision), 200, SMALL), curve(Device(gpu_xp, precision), 200, SMALL)
    np.testing.assert_allclose(actual, expected, rtol=bound)
    assert expected[-1, 0] < expected[0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_run_twice_is_the_same_bit_for_bit(gpu_xp, precision):
    first, second = (curve(Device(gpu_xp, precision), 20, SMALL) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.slow
@pytest.mark.long
def test_bfloat16_learns_as_float32_does_over_500_steps(gpu_xp):
    precise, rounded = (curve(Device(gpu_xp, precision), 500, SMALL)[:, 0] for precision in ("float32", "bfloat16"))
    smooth = np.ones(25) / 25
    precise, rounded = np.convolve(precise, smooth, "valid"), np.convolve(rounded, smooth, "valid")
    np.testing.assert_allclose(rounded, precise, rtol=0.01)
    assert precise[-1] < 0.97 * precise[0]
