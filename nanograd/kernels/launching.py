"""Compiling the kernels of this folder and calling them.

A `.cu` file here holds templates. The first call of one builds the whole file for one dtype with NVRTC, through
`cupy.RawModule`, which keeps what it built on disk; attention's kernels, which come in many sizes, are built one by
one. Arguments are arrays, None (a null pointer), ints (long long) and floats (double), and nothing else.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nanograd.device.device import KERNELS, name_of, xp_of

FOLDER = Path(__file__).parent
HEADERS = {"dropout": ("philox.cuh",), "attention": ("philox.cuh", "attention.cuh")}
HEADERS |= dict.fromkeys(("elementwise", "gelu", "layernorm", "reductions"), ("columns.cuh",))
ON_TENSOR_CORES = *HEADERS["attention"], "tensor_cores.cuh", "attention_mma.cuh"
HEADERS |= dict.fromkeys(("attention_mma", "attention_whole_mma"), ON_TENSOR_CORES)
FAMILIES = (  # .cu files of which all kernels for a dtype are built at once
    "elementwise",
    "gelu",
    "layernorm",
    "rmsnorm",
    "rope",
    "reductions",
    "softmax",
    "losses",
    "embedding",
    "dropout",
    "adamw",
    "muon",
)
C_TYPES = {"float32": "float", "float64": "double", "bfloat16": "bfloat16"}
WIDTH = 16  # bytes that a thread reads or writes at once
OPTIONS = ("--std=c++17",)
MOST_BLOCKS = 4096  # of a kernel whose threads go on to further elements


@functools.cache
def source(family: str) -> str:
    """The text of a family of kernels with all that it includes."""
    names = "common.cuh", *HEADERS.get(family, ()), f"{family}.cu"
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


@functools.cache
def templates(family: str) -> dict[str, int]:
    """{kernel: number of its template parameters} of a .cu file."""
    found = re.findall(r"template <([^>]*)>\s*__global__ void (\w+)\(", source(family))
    return {name: parameters.count(",") + 1 for parameters, name in found}


def instances(family: str, dtype: str) -> tuple[str, ...]:
    """The kernels of a family for one dtype, as C++ names them: with a vector width of 1 and with the full one."""
    c_type, widest = C_TYPES[dtype], WIDTH // np.dtype(_numpy_dtype(dtype)).itemsize
    widths = {1: ("",), 2: (", 1", f", {widest}")}
    return tuple(f"{name}<{c_type}{width}>" for name, count in templates(family).items() for width in widths[count])


def _numpy_dtype(name: str) -> str:
    return "uint16" if name == "bfloat16" else name  # of the same size


@functools.cache
def module(xp, family: str, names: tuple[str, ...]):
    """The compiled module with the kernels `names`."""
    return xp.RawModule(code=source(family), options=OPTIONS, name_expressions=names)


@functools.cache
def kernel(xp, device: int, family: str, name: str, shared: int):
    """One compiled kernel, on one GPU, allowed `shared` bytes of shared memory."""
    if family in FAMILIES:
        dtype = next(dtype for dtype, c_type in C_TYPES.items() if re.search(rf"<{c_type}\b", name))
        names = instances(family, dtype)
    else:
        names = (name,)
    function = module(xp, family, names).get_function(name)
    if shared > 40 * 1024:  # together with what the kernel declares it may exceed 48 KiB, which have to be asked for
        function.max_dynamic_shared_size_bytes = shared
    return function


def launch(family: str, name: str, grid: tuple, threads: int, *args, like, shared: int = 0, views=False) -> None:
    """Start `name` on the GPU of the array `like`; returns at once. Only with `views` may an array have gaps."""
    function = kernel(xp_of(like), like.device.id, family, name, shared)
    function(grid, (threads,), tuple([_argument(arg, name, views) for arg in args]), shared_mem=shared)


def registered(function: Callable) -> Callable:
    """Have `function` called in place of the definition of the same name, for arrays on a GPU."""
    KERNELS[function.__name__] = function
    return function


NULL = np.uint64(0)


def _argument(value, name: str, views: bool):
    """An argument of a kernel, in the type that the kernel has it in."""
    kind = type(value)
    if kind is int:
        return np.int64(value) if value < 2**63 else np.uint64(value)
    if kind is float:
        return np.float64(value)
    if value is None:
        return NULL
    if not views and not value.flags.c_contiguous:
        raise ValueError(f"the kernel {name} reads memory in order, and an array it was given has gaps")
    return value


def c_type(array) -> str:
    """How CUDA calls the dtype of `array`. Raises TypeError for a dtype that has no kernels."""
    try:
        return C_TYPES[name_of(array.dtype)]
    except KeyError:
        raise TypeError(f"the GPU has no kernels for {array.dtype}") from None


def wide(like):
    """The dtype of sums over `like`, and of parameters beside it: float32, or float64."""
    return "float64" if name_of(like.dtype) == "float64" else "float32"


def vector_width(*arrays, length: int) -> int:
    """How many elements a thread may take at once: as many as fill 16 bytes, if every row of `length` allows it."""
    width = WIDTH // arrays[0].itemsize
    if length % width:
        return 1
    for array in arrays:
        if array.data.ptr % WIDTH:
            return 1
    return width


def elementwise(name: str, *args, like, family: str = "elementwise") -> None:
    """Launch an elementwise kernel over all elements of `like`: arrays (or None) first, then sizes, and between them
    the number of elements. Arrays of the dtype of `like` are read and written in vectors.
    """
    n = like.size
    if not n:
        return
    sizes = [arg for arg in args if isinstance(arg, int)]
    arrays = args[: len(args) - len(sizes)]
    width = vector_width(*(a for a in arrays if a is not None and a.dtype == like.dtype), length=n)
    blocks = min(-(-n // (256 * width)), MOST_BLOCKS)
    launch(family, f"{name}<{c_type(like)}, {width}>", (blocks,), 256, *arrays, n, *sizes, like=like)
