"""One computation by its definition on NumPy and by its kernel on a GPU, and how far the results may lie apart."""

import numpy as np

from nanograd import Device
from nanograd.device.rng import RNG

PRECISIONS = "float64", "float32", "bfloat16"
BOUNDS = {
    "float64": 1e-12,
    "float32": 2e-5,
    "tf32": 3e-3,
    "bfloat16": 2e-2,
}  # largest difference, relative to the largest number


class Maker:
    """Arguments for both sides: float64 on the host, holding numbers that the device's dtype can hold too."""

    def __init__(self, device: Device, size: int):
        self.device, self.size = device, size
        self.rng = np.random.default_rng(size)
        self.pairs = []

    def pair(self, host, dtype):
        rounded = host.astype(dtype)
        self.pairs.append(
            (rounded.astype(np.float64) if rounded.dtype.kind != "i" else rounded, self.device.asarray(rounded))
        )
        return self.pairs[-1]

    def act(self, *shape):
        """Activations."""
        return self.pair(self.rng.standard_normal(shape) * 2, self.device.dtype)

    def par(self, *shape):
        """Parameters, statistics and gradients of parameters."""
        return self.pair(self.rng.standard_normal(shape), self.device.parameter_dtype)

    def positive(self, *shape):
        return self.pair(self.rng.random(shape) + 0.5, self.device.parameter_dtype)

    def ids(self, below, *shape):
        return self.pair(self.rng.integers(0, below, shape), np.int32)


def stream_of(words=3):
    made = RNG(seed=2**62 + 5)
    made.begin_step(3, first=7)
    made.reserve(4 * words)  # 3: a place in the middle of a block of random words
    return made


def assert_close(expected, actual, precision, what):
    assert len(expected) == len(actual)
    for e, a in zip(expected, actual, strict=True):
        assert e.shape == a.shape, what
        assert np.abs(e - a).max(initial=0) <= BOUNDS[precision] * max(1.0, np.abs(e).max(initial=0)), what


def in_every_order(monkeypatch, compute) -> None:
    """`compute()` gives the same bits with threads forward, backward and shuffled; a GPU knows no order, and runs it
    three times."""
    results = []
    for order in "012":
        monkeypatch.setenv("FAKE_CUDA_ORDER", order)
        results.append(compute())
    for other in results[1:]:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results[0], other, strict=True))
