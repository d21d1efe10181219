"""What NumPy's BLAS can do and NumPy does not offer: add to what is there, in the same pass over memory.

    add_product   out += a b                    a product that does not start from zero
    axpby         y = alpha x + beta y          one pass, where NumPy's operators take three

NumPy's wheels bring OpenBLAS, and these are functions of that very library. Under another BLAS, and for what a BLAS
does not take, NumPy's operators do the same: they are the definition.
"""

import ctypes
import functools

import numpy as np

from nanograd.device.gemm import layout

ROW_MAJOR, AS_STORED, TRANSPOSED = 101, 111, 112  # CBLAS's constants
REALS = {np.dtype(np.float32): ("s", ctypes.c_float), np.dtype(np.float64): ("d", ctypes.c_double)}
PREFIXES, SUFFIXES = ("scipy_", ""), ("64_", "")  # NumPy's own build gives its functions names of their own
WIDE = b"USE64BITINT"  # what OpenBLAS's configuration says where its integers have 64 bits


def add_product(a, b, out) -> None:  # (M, K), (K, N), (M, N)
    """out += a @ b. `out` may not overlap the others. Raises ValueError for shapes that do not fit."""
    gemm = function("gemm", out.dtype)
    if gemm is not None and a.dtype == b.dtype == out.dtype and a.size and b.size and out.flags.writeable:
        try:
            (a_transposed, ld_a), (b_transposed, ld_b), (out_transposed, ld_out) = layout(a), layout(b), layout(out)
        except ValueError:
            out_transposed = True
        if not out_transposed and a.shape[1] == b.shape[0] and out.shape == (len(a), b.shape[1]):
            ways = (TRANSPOSED if transposed else AS_STORED for transposed in (a_transposed, b_transposed))
            places = 1, a.ctypes.data, ld_a, b.ctypes.data, ld_b, 1, out.ctypes.data, ld_out
            gemm(ROW_MAJOR, *ways, *out.shape, a.shape[1], *places)
            return
    product = a @ b
    if product.shape != out.shape:  # a single row would be added to every one
        raise ValueError(f"a product of shape {product.shape} cannot be added to an array of shape {out.shape}")
    out += product


def axpby(alpha: float, x, beta: float, y) -> None:  # (n,), (n,)
    """y = alpha x + beta y."""
    call = function("axpby", y.dtype) if y.flags.c_contiguous and y.flags.writeable else None
    if call is None or x.dtype != y.dtype or x.shape != y.shape or x.strides != y.strides:
        y *= beta
        y += alpha * x
    else:
        call(y.size, alpha, x.ctypes.data, 1, beta, y.ctypes.data, 1)


@functools.cache
def function(name: str, dtype):
    """CBLAS's `name` for arrays of `dtype`, to be called with numbers and addresses; None where there is none."""
    letter, real = REALS.get(dtype, (None, None))
    if letter is None:
        return None
    for library in libraries():
        for prefix in PREFIXES:
            for suffix in SUFFIXES:
                found = getattr(library, f"{prefix}cblas_{letter}{name}{suffix}", None)
                about = getattr(library, f"{prefix}openblas_get_config{suffix}", None)
                if found is not None and about is not None:
                    about.restype = ctypes.c_char_p
                    whole = ctypes.c_int64 if suffix or WIDE in about() else ctypes.c_int32
                    return typed(found, name, whole, real)
    return None


def typed(found, name: str, whole, real):
    """The function with the types of its arguments."""
    array = [ctypes.c_void_p, whole]
    arguments = {
        "gemm": [*[ctypes.c_int] * 3, *[whole] * 3, real, *array, *array, real, *array],
        "axpby": [whole, real, *array, real, *array],
    }
    found.argtypes, found.restype = arguments[name], None
    return found


def libraries() -> list:
    """The OpenBLAS libraries of this process that can be opened: NumPy's first, then those of other packages."""
    from threadpoolctl import threadpool_info

    opened, found = [], [info for info in threadpool_info() if info["internal_api"] == "openblas"]
    for info in sorted(found, key=lambda info: "numpy" not in info["filepath"]):
        try:
            opened.append(ctypes.CDLL(info["filepath"]))
        except OSError:
            continue  # loaded under a name that is gone: NumPy's operators do
    return opened
