"""Device: NumPy on a CPU or CuPy on a CUDA GPU, and what a model needs of either.

A `Device` is made once and handed to the model. Nothing global chooses the backend, so a NumPy model and a
CuPy model can stand side by side in one process. Inside array math the module comes from the array itself:
`xp = xp_of(x)`.

A function marked `@fused` is the definition of a hot operation, in plain array math. For arrays on a GPU a
twin of the same name in `kernels.py` does the same in one launch.
"""

import functools
from collections.abc import Callable

import numpy as np

DTYPES = ("float32", "float64")


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run on this machine. The message says what to install."""


def xp_of(array):
    """The array module (NumPy, CuPy, …) that `array` belongs to."""
    return np if isinstance(array, np.ndarray) else array.__array_namespace__()


def fused(definition: Callable) -> Callable:
    """Mark `definition` as a hot function whose twin in `kernels.py` takes over for arrays on a GPU."""

    @functools.wraps(definition)
    def dispatch(array, *args, **kwargs):
        if isinstance(array, np.ndarray):
            return definition(array, *args, **kwargs)
        from nanograd import kernels

        return getattr(kernels, definition.__name__)(array, *args, **kwargs)

    dispatch.definition = definition
    return dispatch


class Device:
    """Where arrays live, in which precision, and the seed that every random draw starts from.

    `backend` is "numpy", "cupy", or "auto": CuPy where it imports and sees a GPU, else NumPy. `dtype` is the
    precision of parameters and activations. Raises BackendUnavailable when CuPy was asked for and cannot run.
    """

    def __init__(self, backend: str = "auto", dtype: str = "float32", seed: int = 0):
        if backend not in ("auto", "numpy", "cupy"):
            raise ValueError(f"backend must be auto, numpy or cupy, not {backend!r}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        self.dtype = np.dtype(dtype)
        self.seed = seed
        if backend == "numpy":
            self.xp, self.name = np, "numpy"
        else:
            missing, xp = find_cupy()
            if missing and backend == "cupy":
                raise BackendUnavailable(missing)
            self.xp, self.name = (np, "numpy") if missing else (xp, "cupy")

    def __deepcopy__(self, memo) -> "Device":
        return self  # a place, not a thing: copies of a model stand on the same device

    def describe(self) -> str:
        """The backend and the hardware behind it, for a person."""
        if self.name == "numpy":
            return f"NumPy {np.__version__} on the CPU, {self.dtype.name}"
        gpu = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)["name"].decode()
        return f"CuPy {self.xp.__version__} on {gpu}, {self.dtype.name}"

    def asarray(self, host, dtype=None):
        """A host array on this device, in `dtype` or as it is."""
        return self.xp.asarray(host, dtype=dtype)

    def to_host(self, array) -> np.ndarray:
        """The NumPy array with the same contents; waits for the device."""
        return array if isinstance(array, np.ndarray) else array.get()

    def empty(self, shape, dtype=None):
        return self.xp.empty(shape, dtype=dtype or self.dtype)

    def zeros(self, shape, dtype=None):
        return self.xp.zeros(shape, dtype=dtype or self.dtype)

    def full(self, shape, value):
        return self.xp.full(shape, value, dtype=self.dtype)

    def normal(self, shape, std: float, stream: int):
        """Normal numbers with mean 0 and deviation `std`, the same on every backend, from the stream `stream`."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, stream]))
        return self.asarray(
            rng.standard_normal(shape, dtype=np.float32).astype(self.dtype) * self.dtype.type(std)
        )

    def ids(self, ids, below: int):
        """Token ids on this device, checked on the host first: a GPU would silently wrap those out of range.

        Raises TypeError for anything but integers, ValueError for an id outside [0, below).
        """
        if not isinstance(ids, np.ndarray):
            if not isinstance(ids, list | tuple):
                return ids  # on the device already
            ids = np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"token ids must be integers, not {ids.dtype}")
        if ids.size and (ids.min() < 0 or ids.max() >= below):
            bad = ids.min() if ids.min() < 0 else ids.max()
            raise ValueError(f"token id {bad} is outside [0, {below})")
        return self.asarray(ids)


def find_cupy():
    """(None, cupy) where CuPy can run, else (what is missing and what to install, None)."""
    try:
        import cupy
    except ImportError as error:
        if getattr(error, "name", None) not in (None, "cupy"):
            return (
                f"CuPy is installed but does not import: {error}. Install it again: pip install cupy-cuda12x",
                None,
            )
        return (
            "the package CuPy is not installed. With an NVIDIA GPU: pip install cupy-cuda12x "
            "(or cupy-cuda13x for CUDA 13); without one: --backend numpy"
        ), None
    if not cupy.cuda.is_available():
        return (
            "CuPy is installed but finds no GPU: the NVIDIA driver is missing, too old, or no device is visible. "
            "Install or update the driver, or use --backend numpy"
        ), None
    return None, cupy
