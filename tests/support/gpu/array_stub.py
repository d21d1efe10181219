"""An array module that looks like CuPy and computes nothing, for what the host decides by itself.

Which kernel is launched, in which grid, how a product's operands lie in memory, what a machine is told about its GPU:
these tests need no GPU. What a GPU does is tested with CuPy itself (`-m gpu`), on hardware or through
tools/cuda_on_cpu.
"""

import sys
import types

import numpy as np

sys.modules["array_stub"] = sys.modules[__name__]  # where `xp_of` looks for the module of an array

__version__ = "14.0.0"


class ndarray:
    """A device array. `host` holds the numbers."""

    __module__ = "array_stub"
    __array_ufunc__ = None  # NumPy gives up
    __hash__ = object.__hash__

    def __init__(self, host: np.ndarray):
        self.host = host

    def __getattr__(self, name: str):
        if name not in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags"):
            raise AttributeError(f"{name} is not part of the stub: test it with CuPy itself, as -m gpu does")
        return getattr(self.host, name)

    T = property(lambda self: ndarray(self.host.T))
    data = property(lambda self: types.SimpleNamespace(ptr=self.host.ctypes.data))
    device = property(lambda self: Device())

    def __len__(self):
        return len(self.host)

    def __getitem__(self, key):
        return ndarray(self.host[key])

    def __setitem__(self, key, value):
        self.host[key] = value

    def get(self) -> np.ndarray:
        return self.host.copy()

    def reshape(self, *shape):
        return ndarray(self.host.reshape(*shape))

    def swapaxes(self, a, b):
        return ndarray(self.host.swapaxes(a, b))

    def view(self, dtype):
        return ndarray(self.host.view(dtype))

    def astype(self, dtype):
        return wrap(self.host.astype(dtype))

    def fill(self, value) -> None:
        self.host.fill(value)


def wrap(host) -> ndarray:
    """An array that begins at a multiple of 16 bytes, as CuPy's do."""
    host = np.asarray(host)
    room = np.empty(host.nbytes + 16, np.uint8)
    start = -room.ctypes.data % 16
    kept = room[start : start + host.nbytes].view(host.dtype).reshape(host.shape)
    kept[...] = host
    return ndarray(kept)


def full(shape, fill_value, dtype=float):
    return wrap(np.full(shape, fill_value, dtype))


def zeros(shape, dtype=float):
    return full(shape, 0, dtype)


empty = zeros


def zeros_like(a):
    return zeros(a.shape, a.dtype)


def asarray(a, dtype=None):
    return wrap(np.asarray(a.host if isinstance(a, ndarray) else a, dtype=dtype))


def ascontiguousarray(a):
    return wrap(np.ascontiguousarray(a.host))


class Device:
    id = 0
    attributes = {"MaxSharedMemoryPerBlockOptin": 101376, "MultiProcessorCount": 84}  # noqa: RUF012
    compute_capability = "80"
    mem_info = (1 << 30, 2 << 30)

    def __init__(self, number: int = 0):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


cuda = types.SimpleNamespace(
    Device=Device,
    cublas=types.SimpleNamespace(gemmEx=None),
    nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 9)),
    runtime=types.SimpleNamespace(
        driverGetVersion=lambda: 12090,
        runtimeGetVersion=lambda: 12090,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"a GPU that is not there", "totalGlobalMem": 2 << 30},
    ),
)


def as_cupy(monkeypatch) -> types.ModuleType:
    """Let `import cupy` find this module for the length of a test."""
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module
