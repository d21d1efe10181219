"""Device: NumPy on a CPU or CuPy on a CUDA GPU, and what a model needs of either.

A `Device` is made once and handed to the model. Nothing global chooses the backend, so a NumPy model and a
CuPy model can stand side by side in one process. Inside array math the module comes from the array itself:
`xp = xp_of(x)`.

A function marked `@fused` is the definition of a hot operation, in plain array math. For arrays on a GPU a CUDA
kernel does the same in one launch: KERNELS has it under the definition's name. `nanograd.kernels` fills that table
when it is imported, which `from nanograd import Device` does.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

import numpy as np

from nanograd.device.cuda import WITHOUT_GPU, find_cupy

GPU_DTYPES = ("tf32", "bfloat16")  # float32 with products rounded to TF32; bfloat16 with float32 masters
ROWS = 4096  # of a product at a time on a CPU: a BLAS makes itself a copy of as many
DTYPES = ("float32", "float64", *GPU_DTYPES)


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run on this machine. The message says what to install."""


def xp_of(array):
    """The array module (NumPy, CuPy, …) that `array` belongs to."""
    return np if isinstance(array, np.ndarray) else sys.modules[type(array).__module__.partition(".")[0]]


@functools.cache
def name_of(dtype: np.dtype) -> str:
    """`dtype.name`, which NumPy puts together anew, in a microsecond, each time it is asked."""
    return dtype.name


def bits(array):
    """`array`, or where it is of bfloat16 its bits as whole numbers: to copy those, CuPy builds no program that needs
    NVIDIA's header for bfloat16, which not every machine has."""
    return array.view("uint16") if name_of(array.dtype) == "bfloat16" else array


def contiguous(array):
    """`array` without gaps between its elements: itself, or a copy."""
    return array if array.flags.c_contiguous else xp_of(array).ascontiguousarray(bits(array)).view(array.dtype)


def as_array(value):
    """`value` as an array: itself, or a NumPy array with the numbers of a list or a torch tensor.

    Floating-point numbers that NumPy has no arithmetic for, as bfloat16, come as float32.
    """
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        known = str(value.dtype) in ("torch.float16", "torch.float32", "torch.float64")
        return (value.float() if value.is_floating_point() and not known else value).numpy()
    if not hasattr(value, "dtype"):
        return np.asarray(value)
    if isinstance(value, np.ndarray) and name_of(value.dtype) == "bfloat16":
        return value.astype(np.float32)
    return value


KERNELS: dict[str, Callable] = {}  # {name of a definition: what does the same for arrays on a GPU}


def kernel_of(name: str) -> Callable:
    """The CUDA kernel of the definition `name`. Raises RuntimeError where nothing has imported the kernels."""
    if name not in KERNELS:
        raise RuntimeError(
            f"there is no CUDA kernel of {name}: import nanograd.kernels, as `from nanograd import Device` does"
        )
    return KERNELS[name]


def fused(definition: Callable) -> Callable:
    """Mark `definition` as a hot function whose CUDA kernel takes over for arrays on a GPU."""

    @functools.wraps(definition)
    def dispatch(array, *args, **kwargs):
        if isinstance(array, np.ndarray):
            return definition(array, *args, **kwargs)
        return kernel_of(definition.__name__)(array, *args, **kwargs)

    dispatch.definition = definition
    return dispatch


def fused_layer(name: str) -> Callable:
    """The same for a layer's forward or backward; its kernel is called `name` and takes the layer first."""

    def mark(definition: Callable) -> Callable:
        @functools.wraps(definition)
        def dispatch(layer, array, *args, **kwargs):
            if isinstance(array, np.ndarray):
                return definition(layer, array, *args, **kwargs)
            return kernel_of(name)(layer, array, *args, **kwargs)

        dispatch.definition = definition
        return dispatch

    return mark


class Device:
    """Where arrays live, in which precision, and the seed that every random draw starts from.

    `backend` is "numpy", "cupy", or "auto": CuPy where it imports and sees a GPU, else NumPy; or an array module
    that behaves as CuPy does. `dtype` is the precision: float32, float64, and on a GPU also "tf32" (float32 whose
    matrix products are rounded to TF32) and "bfloat16" (activations; parameters and gradients stay float32).
    `dtype` the attribute is that of activations, `parameter_dtype` that of parameters.
    With `atomics` a GPU may add up the gradients of embeddings in any order, another one in every run.
    Raises BackendUnavailable when a GPU was asked for and cannot be used.
    """

    def __init__(self, backend="auto", dtype: str = "float32", seed: int = 0, atomics: bool = False):
        if isinstance(backend, str) and backend not in ("auto", "numpy", "cupy"):
            raise ValueError(f"backend must be auto, numpy or cupy, not {backend!r}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        if backend == "numpy" and dtype in GPU_DTYPES:
            raise ValueError(f"dtype {dtype} needs the cupy backend: numpy computes in float32 or float64")
        if backend == "numpy" and atomics:
            raise ValueError("atomics need the cupy backend: numpy adds up in order")
        self.seed, self.precision, self.atomics, self._blank = seed, dtype, atomics, False
        if backend == "numpy":
            self.xp, self.name = np, "numpy"
        elif isinstance(backend, str):
            missing, xp = find_cupy()
            needs = [(f"dtype {dtype}", "--dtype float32")] * (dtype in GPU_DTYPES) + [
                ("atomics", "--no-atomics")
            ] * atomics
            if missing and needs:
                what, instead = needs[0]
                missing = missing.replace(WITHOUT_GPU, f"--backend numpy {instead} runs without a GPU")
                raise BackendUnavailable(f"a GPU is needed for {what}: {missing}")
            if missing and backend == "cupy":
                raise BackendUnavailable(missing)
            self.xp, self.name = (np, "numpy") if missing else (xp, "cupy")
        else:
            self.xp, self.name = backend, "cupy"
        if dtype in GPU_DTYPES:
            capability = self.xp.cuda.Device().compute_capability  # as in "90"
            if int(capability) < 80:
                found = f"{capability[:-1]}.{capability[-1]}"
                raise BackendUnavailable(f"dtype {dtype} needs a GPU of compute capability 8.0 or more, not {found}")
        self.parameter_dtype = np.dtype("float64" if dtype == "float64" else "float32")
        self.dtype = bfloat16() if dtype == "bfloat16" else self.parameter_dtype
        if dtype == "bfloat16" and int(self.xp.__version__.partition(".")[0]) < 14:
            raise BackendUnavailable(f"dtype bfloat16 needs CuPy 14 or later, not {self.xp.__version__}")

    def __deepcopy__(self, memo) -> "Device":
        return self  # copies of a model stand on the same device

    def __reduce__(self):  # for pickle
        if self.name != "numpy":
            raise TypeError("what is on a GPU cannot be pickled: model.save(folder), or model.state_dict() on the host")
        return Device, ("numpy", self.precision, self.seed)

    def __repr__(self) -> str:
        settings = [repr(self.name), f"dtype={self.precision!r}", f"seed={self.seed}", "atomics=True" * self.atomics]
        return f"Device({', '.join(filter(None, settings))})"

    def describe(self) -> str:
        """The backend and the hardware behind it, for a person."""
        if self.name == "numpy":
            return f"NumPy {np.__version__} on the CPU, {self.precision}"
        gpu = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)["name"].decode()
        return f"CuPy {self.xp.__version__} on {gpu}, {self.precision}"

    def asarray(self, host, dtype=None):
        """A host array on this device, in `dtype` or as it is."""
        return self.xp.asarray(host, dtype=dtype)

    def to_host(self, array) -> np.ndarray:
        """The NumPy array with the same contents, in float32 where it was bfloat16; waits for the device."""
        if isinstance(array, np.ndarray):
            return array
        host = array.get()
        return host.astype(np.float32) if name_of(host.dtype) == "bfloat16" else host

    def empty(self, shape, dtype=None):
        return self.xp.empty(shape, dtype=dtype or self.dtype)

    def example(self, parameter):
        """An array of the dtype that activations have beside `parameter`: itself, or an empty narrower one."""
        if self.dtype.itemsize >= self.parameter_dtype.itemsize:
            return parameter
        return self.xp.empty(0, dtype=self.dtype)

    # What parameters start as

    def zeros(self, shape):
        return self.xp.zeros(shape, dtype=self.parameter_dtype)

    def full(self, shape, value):
        return self.xp.full(shape, value, dtype=self.parameter_dtype)

    @contextlib.contextmanager
    def blank_weights(self) -> Iterator[None]:
        """Inside, `normal` leaves memory as it is: for a model whose weights are read from a file right afterwards."""
        self._blank = True
        try:
            yield
        finally:
            self._blank = False

    def normal(self, shape, std: float, stream: int):
        """Normal numbers of mean 0 and standard deviation `std`, the same on every backend, from stream `stream`."""
        if self._blank:
            return self.empty(shape, self.parameter_dtype)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, stream]))
        dtype = self.parameter_dtype
        return self.asarray(rng.standard_normal(shape, dtype=np.float32).astype(dtype) * dtype.type(std))

    def matmul(self, a, b, out, add: bool = False) -> None:
        """out = a @ b, or with `add` out += a @ b, for matrices (M, K) and (K, N), in this device's precision."""
        if self.name == "numpy":
            product = np.matmul
            if add:
                from nanograd.device.blas import add_product as product
            for start in range(0, max(len(a), len(out)), ROWS):
                product(a[start : start + ROWS], b, out[start : start + ROWS])
        else:
            from nanograd.device.gemm import gemm

            gemm(a, b, out, add, tf32=self.precision == "tf32")

    def ids(self, ids, below: int, ignored: int | None = None, checked: bool = False):
        """Token ids on this device, checked on the host first: a GPU would silently wrap those out of range.

        `ignored` is a number that may stand among them. Ids that are on a GPU are copied to the host for the check,
        unless they were `checked` before. Raises TypeError for anything but integers, ValueError for an id outside
        [0, below).
        """
        ids = as_array(ids)
        if not isinstance(ids, np.ndarray):  # on the device already
            if not checked:
                self.check_ids(self.to_host(ids), below, ignored)
            return ids
        self.check_ids(ids, below, ignored)
        return self.asarray(ids) if self.name == "numpy" else self.asarray(ids, dtype=np.int32)

    def check_ids(self, ids: np.ndarray, below: int, ignored: int | None = None) -> None:
        """The check alone: TypeError for anything but integers, ValueError for an id outside [0, below)."""
        if ids.dtype.kind not in "iu":
            raise TypeError(f"token ids must be integers, not {ids.dtype}")
        if ids.size and (ids.min() < 0 or ids.max() >= below):
            if ignored is not None and (ids == ignored).any():
                return self.check_ids(ids[ids != ignored], below)
            bad = ids.min() if ids.min() < 0 else ids.max()
            raise ValueError(f"token id {bad} is outside [0, {below})")


def check_device(device) -> None:
    """Raises TypeError for what is neither a Device nor None, such as the name of a backend."""
    if not isinstance(device, Device | None):
        raise TypeError(f"device is a nanograd.Device, such as Device('numpy'), not {device!r}")


def bfloat16() -> np.dtype:
    """NumPy's name for bfloat16, which the package ml_dtypes brings. Raises BackendUnavailable without it."""
    try:
        import ml_dtypes
    except ImportError:
        raise BackendUnavailable("dtype bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)
