"""A stand-in for CuPy that runs on NumPy and is as strict as CuPy is where the two differ.

What works here uses nothing that CuPy 14 lacks, and waits for the device only where `syncs` says so:

* no implicit conversion: NumPy arrays are refused as operands, as values to assign, and by `np.asarray`;
* reductions give 0-d arrays; `float`, `int`, `bool`, `item`, `get` and printing count as waiting for the device;
* `where=` and `initial=`, indices out of range and repeated indices in an assignment raise: CuPy lacks the former,
  wraps around silently for the latter and leaves the last undefined;
* `matmul` and bfloat16 arithmetic raise, because CuPy's are slow or wrong above two dimensions and experimental:
  products go through `Device.matmul` and its gemmEx, which is here too, arithmetic through kernels;
* a kernel's source is compiled for the CPU (cuda_on_cpu.py) and run, and may not write beside its arrays.

Only what nanograd uses is here. Install it as CuPy with `as_cupy(monkeypatch)`, or hand it to `Device`.
"""

import ctypes
import sys
import types

import numpy as np

from tests.support.cuda_on_cpu import RawModule  # noqa: F401

sys.modules["strict_xp"] = sys.modules[__name__]  # where `xp_of` looks for the module of an array

__version__ = "14.0.0"
GUARD = 64  # bytes before and behind every array
GUARD_BYTE = 0xA5
syncs = 0  # how often the host has waited for the device
streams = 0  # how many streams have been made


def waited() -> None:
    global syncs
    syncs += 1


def guarded(shape, dtype) -> np.ndarray:
    """An array full of what does not pass for a number, between two guards."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if min(shape, default=0) < 0:
        raise ValueError("negative dimensions are not allowed")
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = np.full(size + 2 * GUARD + 16, GUARD_BYTE, dtype=np.uint8)
    start = GUARD + -(room.ctypes.data + GUARD) % 16
    room[start : start + size] = 0xFF
    return room[start : start + size].view(dtype).reshape(shape)


class Pointer:
    def __init__(self, array: np.ndarray):
        self.ptr = array.ctypes.data


class ndarray:
    """A device array. `host` holds the numbers; only this module and the tests look at it."""

    __module__ = "strict_xp"
    __array_ufunc__ = None  # NumPy gives up and asks us

    def __init__(self, host: np.ndarray):
        self.host = host

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: types.SimpleNamespace(c_contiguous=self.host.flags.c_contiguous))
    T = property(lambda self: ndarray(self.host.T))
    data = property(lambda self: Pointer(self.host))
    device = property(lambda self: cuda.Device())

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (self[i] for i in range(len(self.host)))

    def check_guards(self, kernel: str) -> None:
        """Raise if something was written beside the memory that this array is in."""
        room = self.host
        while room.base is not None:
            room = room.base
        if room.dtype != np.uint8:
            return
        start = GUARD + -(room.ctypes.data + GUARD) % 16
        if (room[:start] != GUARD_BYTE).any() or (room[start + room.size - 2 * GUARD - 16 :] != GUARD_BYTE).any():
            raise AssertionError(f"{kernel} wrote beside an array")

    # Waiting for the device

    def get(self, stream=None) -> np.ndarray:
        waited()
        return self.host.copy()

    def item(self):
        waited()
        return self.host.item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    def __bool__(self):
        return bool(self.item())

    def __format__(self, spec):
        return format(self.item(), spec)

    def __repr__(self):
        waited()
        return f"strict{self.host!r}"

    def tolist(self):
        waited()
        return self.host.tolist()

    # Shapes, without copies wherever NumPy makes none

    def reshape(self, *shape):
        return ndarray(self.host.reshape(*shape))

    def transpose(self, *axes):
        return ndarray(self.host.transpose(*axes))

    def swapaxes(self, a, b):
        return ndarray(self.host.swapaxes(a, b))

    def ravel(self):
        return ndarray(self.host.ravel())

    def view(self, dtype=None):
        return ndarray(self.host.view(dtype))

    def astype(self, dtype, copy=True):
        return wrap(self.host.astype(dtype, copy=copy))

    def copy(self):
        return wrap(self.host.copy())

    def set(self, values: np.ndarray, stream=None) -> None:
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype or values.shape != self.shape:
            raise TypeError("set takes a NumPy array of the same shape and dtype")
        self.host[...] = values

    # Indexing

    def __getitem__(self, key):
        return ndarray(self.host[index(key)])

    def __setitem__(self, key, value):
        key = index(key)
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, np.ndarray) and part.dtype != bool and len(np.unique(part)) != part.size:
                raise AssertionError("an assignment to repeated indices is undefined on a GPU")
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
        for array in (self, value):
            needs_no_header(array)
        copied = isinstance(value, ndarray) and value.dtype == self.dtype
        self.host[key] = value.host if copied else operand(value)

    # Arithmetic

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return reduce(np.sum, self, axis, keepdims, dtype=dtype)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        return reduce(np.mean, self, axis, keepdims, dtype=dtype)

    def max(self, axis=None, out=None, keepdims=False):
        return reduce(np.max, self, axis, keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return reduce(np.min, self, axis, keepdims)

    def all(self, axis=None, out=None, keepdims=False):
        return reduce(np.all, self, axis, keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return reduce(np.any, self, axis, keepdims)

    def fill(self, value) -> None:
        self.host.fill(operand(value))


def index(key):
    """A NumPy index for ours; NumPy itself raises for one that is out of range."""
    if isinstance(key, tuple):
        return tuple(index(part) for part in key)
    return key.host if isinstance(key, ndarray) else key


def operand(value):
    """What NumPy is to compute with, for an operand that CuPy would take."""
    if isinstance(value, ndarray):
        if value.dtype.name == "bfloat16":
            raise TypeError("arithmetic of bfloat16 arrays belongs into a kernel")
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def wrap(result) -> ndarray:
    """A result of NumPy's in device memory."""
    result = np.asarray(result)
    kept = guarded(result.shape, result.dtype)
    kept[...] = result
    return ndarray(kept)


def reduce(function, x, axis, keepdims, **kwargs):
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    return wrap(function(operand(x), axis=axis, keepdims=keepdims, **kwargs))


def elementwise(ufunc):
    """A ufunc of CuPy's: no `where`, and `out` is an array of ours."""

    def call(*operands, out=None, dtype=None):
        values = [operand(value) for value in operands]
        if out is None:
            return wrap(ufunc(*values, **({} if dtype is None else {"dtype": dtype})))
        if not isinstance(out, ndarray):
            raise TypeError("return arrays must be of ArrayType")
        ufunc(*values, out=operand(out))
        return out

    return call


add, subtract, multiply, divide = map(elementwise, (np.add, np.subtract, np.multiply, np.divide))
minimum, maximum, sqrt, isfinite = map(elementwise, (np.minimum, np.maximum, np.sqrt, np.isfinite))

BINARY = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": divide,
    "lt": elementwise(np.less),
    "gt": elementwise(np.greater),
    "eq": elementwise(np.equal),
    "ne": elementwise(np.not_equal),
}
for name, function in BINARY.items():
    setattr(ndarray, f"__{name}__", lambda self, other, f=function: f(self, other))
    setattr(ndarray, f"__r{name}__", lambda self, other, f=function: f(other, self))
    setattr(ndarray, f"__i{name}__", lambda self, other, f=function: f(self, other, out=self))
ndarray.__hash__ = object.__hash__


# Making arrays


def empty(shape, dtype=float):
    return ndarray(guarded(shape, dtype))


def zeros(shape, dtype=float):
    return full(shape, 0, dtype)


def full(shape, fill_value, dtype=None):
    made = ndarray(guarded(shape, dtype))
    made.host[...] = fill_value
    return made


def empty_like(prototype, dtype=None):
    return empty(prototype.shape, dtype or prototype.dtype)


def zeros_like(a, dtype=None):
    return zeros(a.shape, dtype or a.dtype)


def asarray(a, dtype=None):
    if isinstance(a, ndarray) and (dtype is None or a.dtype == dtype):
        return a
    return wrap(np.asarray(a.host if isinstance(a, ndarray) else a, dtype=dtype))


def needs_no_header(array) -> None:
    if isinstance(array, ndarray) and array.dtype.name == "bfloat16":
        raise TypeError("CuPy copies bfloat16 in a program that includes cuda_bf16.h, which may be missing: copy bits")


def ascontiguousarray(a, dtype=None):
    needs_no_header(a)
    return a if a.flags.c_contiguous else wrap(a.host)


def asfortranarray(a, dtype=None):
    return ndarray(np.asfortranarray(a.host))


# cupy.cuda


class Device:
    id = 0
    attributes = {"MaxSharedMemoryPerBlockOptin": 101376, "MultiProcessorCount": 4}  # noqa: RUF012
    compute_capability = "80"
    mem_info = (1 << 30, 2 << 30)

    def __init__(self, number: int = 0):
        pass

    def synchronize(self) -> None:
        waited()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Stream:
    """A queue of work. Here all work is done at once, so order is the order of the program."""

    def __init__(self, non_blocking: bool = False):
        global streams
        streams += 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event) -> None:
        if not isinstance(event, Event):
            raise TypeError("wait_event takes an Event")

    def synchronize(self) -> None:
        waited()


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False):
        pass

    def record(self, stream=None) -> None:
        pass

    def synchronize(self) -> None:
        """Waiting for a copy of an earlier batch, which is long done: not a wait for the step."""


CURRENT = Stream()
TYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64)}


def _column_major(pointer: int, rows: int, columns: int, leading: int, dtype) -> np.ndarray:
    if leading < max(1, rows):
        raise ValueError(f"CUBLAS_STATUS_INVALID_VALUE: leading dimension {leading} of {rows} rows")
    size = (leading * (columns - 1) + rows) * dtype.itemsize
    memory = (ctypes.c_char * size).from_address(pointer)
    return np.ndarray((rows, columns), dtype, memory, strides=(dtype.itemsize, leading * dtype.itemsize))


def _rounded_to_tf32(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


gemm_calls = []  # the compute type of each


def gemmEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType, algo
):
    """cublasGemmEx: C = alpha op(A) op(B) + beta C, all column by column."""
    types_ = TYPES | {14: bfloat16_type()}
    a = _column_major(A, *((k, m) if transa else (m, k)), lda, types_[Atype])
    b = _column_major(B, *((n, k) if transb else (k, n)), ldb, types_[Btype])
    c = _column_major(C, m, n, ldc, types_[Ctype])
    wide = np.float64 if computeType == 70 else np.float32
    allowed = {68: [(0, 0, 0), (14, 14, 14), (14, 14, 0)], 70: [(1, 1, 1)], 77: [(0, 0, 0)]}
    if (Atype, Btype, Ctype) not in allowed[computeType] or algo != -1:  # CUBLAS_GEMM_DEFAULT
        raise ValueError("CUBLAS_STATUS_NOT_SUPPORTED")
    gemm_calls.append(computeType)
    number = ctypes.POINTER(ctypes.c_double if wide is np.float64 else ctypes.c_float)
    factors = [ctypes.cast(pointer, number)[0] for pointer in (alpha, beta)]
    a, b = (x.T if transposed else x for x, transposed in ((a.astype(wide), transa), (b.astype(wide), transb)))
    if computeType == 77:
        a, b = _rounded_to_tf32(a), _rounded_to_tf32(b)
    product = wide(factors[0]) * (a @ b)
    c[...] = product + wide(factors[1]) * c.astype(wide) if factors[1] else product


def bfloat16_type():
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def alloc_pinned_memory(size: int):
    return bytearray(size)


cuda = types.SimpleNamespace(
    Device=Device,
    Stream=Stream,
    Event=Event,
    get_current_stream=lambda: CURRENT,
    is_available=lambda: True,
    alloc_pinned_memory=alloc_pinned_memory,
    get_elapsed_time=lambda start, stop: 0.001,
    cublas=types.SimpleNamespace(gemmEx=gemmEx),
    device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
    nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 9)),
    runtime=types.SimpleNamespace(
        driverGetVersion=lambda: 12090,
        runtimeGetVersion=lambda: 12090,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"a CPU that plays a GPU", "totalGlobalMem": 2 << 30},
    ),
)


def as_cupy(monkeypatch) -> types.ModuleType:
    """Let `import cupy` find this module for the length of a test."""
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def run_definitions(monkeypatch, definitions: dict) -> None:
    """Where no compiler is: let every definition run on the numbers, in place of its kernel."""
    from nanograd.device.device import KERNELS

    def host(value):
        return value.host if isinstance(value, ndarray) else value

    def device(value):
        if isinstance(value, tuple):
            return tuple(map(device, value))
        return wrap(value) if isinstance(value, np.ndarray | np.generic | float) else value

    for name, definition in definitions.items():
        kernel = lambda *args, f=definition, **options: device(f(*map(host, args), **options))  # noqa: E731
        monkeypatch.setitem(KERNELS, name, kernel)
