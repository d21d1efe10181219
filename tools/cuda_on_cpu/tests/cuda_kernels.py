"""CUDA source to kernels that run on the CPU (NVRTC, the translator, ctypes), and values to try them with."""

import ctypes
import functools
import hashlib
import importlib.util
import os
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from nvrtc import compile_ptx
from ptx.module import build

HERE = Path(__file__).parent


BUILT = Path(os.environ.get("FAKE_CUDA_CACHE", Path(tempfile.gettempdir()) / "cuda-on-cpu")) / "tests"
PARTS = [*(HERE.parent / "ptx").glob("*.py"), *(HERE.parent / "runtime").glob("*.h")]


CUPY = Path(importlib.util.find_spec("cupy").origin).parent
INCLUDES = [f"-I{CUPY}/_core/include", f"-I{sysconfig.get_path('purelib')}/nvidia/cuda_runtime/include"]
NAMES = {"i4": "int", "u4": "unsigned", "i8": "long long", "u8": "unsigned long long", "f4": "float", "f8": "double"}
NAMES |= {"i2": "short", "u2": "unsigned short", "i1": "signed char", "u1": "unsigned char", "b1": "bool"}
KEPT = []
RNG = np.random.default_rng(1)


class Library:
    """The kernels of a PTX module. `flags`: RACES or COUNTS, as the translator takes them."""

    def __init__(self, ptx: str, flags: tuple[str, ...] = ()):
        key = "".join([ptx, *flags, *(part.read_text() for part in sorted(PARTS))])
        path = BUILT / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
        if not path.exists():
            BUILT.mkdir(parents=True, exist_ok=True)
            build(ptx, str(path), flags)
        self.library = ctypes.CDLL(str(path))
        self.library.ptx_error.restype = ctypes.c_char_p
        self.library.ptx_global.restype = ctypes.c_void_p

    def launch(self, name: str, grid, block, values, shared: int = 0) -> None:
        """`values`: NumPy scalars or arrays of raw bytes, whose memory holds what the kernel takes."""
        pointers = (ctypes.c_void_p * max(len(values), 1))(*(v.ctypes.data for v in values))
        sizes = [*grid, *[1] * (3 - len(grid)), *block, *[1] * (3 - len(block))]
        if self.library.ptx_launch(name.encode(), *map(ctypes.c_uint, sizes), ctypes.c_uint(shared), pointers):
            raise RuntimeError(self.library.ptx_error().decode())

    def counts(self) -> dict[str, int]:
        """What the last launch did, of a library that counts."""
        held = (ctypes.c_ulonglong * 8)()
        assert self.library.ptx_counts(held)
        names = "read written sectors_read sectors_written flops tensor_flops shared_turns shared_least"
        return dict(zip(names.split(), held, strict=True))


def source(name: str) -> str:
    return (HERE / f"{name}.cu").read_text(encoding="utf-8")


@functools.cache
def library(source: str, arch: str = "sm_80", *options: str, flags: tuple[str, ...] = ()) -> Library:
    return Library(compile_ptx(source, ("--std=c++17", *INCLUDES, *options, f"-arch={arch}"))[0], flags)


def pointer(array):
    KEPT.append(array)  # until the launch at least
    return np.array(array.ctypes.data, np.uint64)


def kernels(expressions: dict[str, tuple[str, str]], prelude: str = "") -> str:
    """Source of kernels out[i] = expression of x, y, z = a[i], b[i], c[i].

    expressions: {name: (types of a, b, c and out, expression)}; a type is NumPy's short name or C++'s own.
    """
    parts = [prelude]
    for name, (types, expression) in expressions.items():
        *ins, out = (NAMES.get(t, t) for t in types.split())
        args = ", ".join(f"const {t}* {letter}_" for t, letter in zip(ins, "abc"))
        loads = " ".join(f"{t} {to} = {letter}_[i];" for t, letter, to in zip(ins, "abc", "xyz"))
        parts.append(f"""extern "C" __global__ void k_{name}({args}, {out}* out, int n) {{
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) {{ {loads} out[i] = {expression}; }}
        }}""")
    return "\n".join(parts)


def compute(lib, name: str, out_type: str, *arrays, at_once: int = 1):
    """What the kernel `name` gives for arrays; `at_once` of their elements are one of the kernel's."""
    arrays = [np.ascontiguousarray(a) for a in arrays]
    out = np.zeros(arrays[0].size, out_type)
    values = [*map(pointer, arrays), pointer(out), np.array(out.size // at_once, "i4")]
    lib.launch(f"k_{name}", (-(-out.size // 64),), (64,), values)
    return out


def corners(type_: str, n: int = 200):
    kind, size = type_[0], int(type_[1])
    if kind == "f":
        special = [
            0,
            -0.0,
            1,
            -1,
            np.inf,
            -np.inf,
            np.nan,
            0.5,
            1.5,
            2.5,
            -2.5,
            1e-40,
            -3e-45,
            5e-324,
            3e38,
            1e300,
            65504,
            65520,
            2**31,
            2**32,
            2**63,
            -(2**63),
            2**64,
            1 / 3,
            1 + 2**-11,
            1 + 2**-8,
            1 + 3 * 2**-9,
        ]
        with np.errstate(all="ignore"):
            values = np.array(special, "f8").astype(type_)
        bits = RNG.integers(0, 2 ** (8 * size) - 1, n, dtype=f"u{size}", endpoint=True).view(type_)
        return np.concatenate(
            [values, bits, RNG.standard_normal(n).astype(type_), (RNG.standard_normal(n) * 1000).astype(type_)]
        )
    info = np.iinfo(type_)
    special = np.array([0, 1, 2, 3, 5, 31, 32, 33, 63, 64, 100, info.max, info.max - 1, info.min, info.min // 2], type_)
    return np.concatenate(
        [
            special,
            -special if kind == "i" else special[::-1],
            RNG.integers(info.min, info.max, n, dtype=type_, endpoint=True),
            RNG.integers(max(info.min, -50), 50, n).astype(type_),
        ]
    )


def pairs(type_: str, other: str = ""):
    a, b = corners(type_, 60), corners(other or type_, 60)
    return np.repeat(a, b.size), np.tile(b, a.size)


def same(actual, expected, what, ulps=0):
    """Equal bits, but for what a NaN looks like; or within so many units in the last place."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan, err_msg=what)
    a, e = actual[~nan], expected[~nan]
    if not ulps:
        view = f"u{a.dtype.itemsize}"
        np.testing.assert_array_equal(a.view(view), e.view(view), err_msg=what)
        return
    with np.errstate(all="ignore"):
        wrong = ~((a == e) | (np.abs(a.astype("f8") - e.astype("f8")) <= ulps * np.spacing(np.abs(e)).astype("f8")))
    assert not wrong.any(), (what, a[wrong][:5], e[wrong][:5])
