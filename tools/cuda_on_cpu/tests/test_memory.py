"""Memory, functions, and what is not supported."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from cuda_kernels import HERE, RNG, library, pointer, source
from nvrtc import compile_ptx


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_memory_and_functions(arch):
    lib = library(source("memory"), arch)
    v = np.array([3, 9, 250, 4, 1, 77, 2, 12], "i4")
    for name, type_, fold in (
        ("add_i", "i4", np.add.reduce),
        ("add_u8", "u8", np.add.reduce),
        ("add_f", "f4", np.add.reduce),
        ("add_d", "f8", np.add.reduce),
        ("min_i", "i4", np.min),
        ("max_u", "u4", np.max),
        ("max_l", "i8", np.max),
        ("and_u", "u4", np.bitwise_and.reduce),
        ("or_u", "u4", np.bitwise_or.reduce),
        ("xor_u", "u4", np.bitwise_xor.reduce),
        ("exch", "i4", lambda x: x[-1]),
        ("inc", "u4", lambda x: (x[0] + 8) % 8),
        ("dec", "u4", lambda x: (int(x[0]) - 8) % 8),
        ("cas_f", "f4", lambda x: x[0] * 256),
    ):
        x, g, out = v.astype(type_), np.array([5], type_), np.zeros(1, type_)
        lib.launch(name, (1,), (8,), [pointer(g), pointer(out), pointer(x)])
        expected = fold(np.concatenate([np.array([5], type_), x]))
        if name == "exch":
            assert g[0] in v and out[0] in v  # the last one's, whoever that was
        else:
            assert g[0] == out[0] == expected, name
    big, out = np.arange(100, 120, dtype="i4"), np.zeros(64, "i4")
    lib.launch("calls", (1,), (64,), [pointer(out), big])
    fib = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    table = [1, -2, 3, 4]
    np.testing.assert_array_equal(
        out,
        [
            i * (3 if i % 2 else 2) + fib[i % 10] + (i if i % 2 else i * i) + 100 + i % 20 + i + 32 + table[i % 4]
            for i in range(64)
        ],
    )
    size = ctypes.c_ulonglong()
    address = lib.library.ptx_global(b"counter", ctypes.byref(size))
    assert size.value == 4 and ctypes.c_int.from_address(address).value == 42
    assert (ctypes.c_longlong * 3).from_address(lib.library.ptx_global(b"big", ctypes.byref(size)))[
        1
    ] == 7 and size.value == 24
    assert list((ctypes.c_float * 4).from_address(lib.library.ptx_global(b"table", None))) == [1.5, -2, 3, 4]
    assert lib.library.ptx_global(b"nothing", None) is None
    lib.launch("local", (1,), (64,), [pointer(out), np.array(25, "i4")])
    np.testing.assert_array_equal(out, [sum(((i * 7 + t) % 40) ** 2 for i in range(25)) for t in range(64)])
    out[:] = np.arange(64) % 9
    before = out.copy()
    lib.launch("choose", (1,), (32,), [pointer(out)])
    np.testing.assert_array_equal(
        out[:32],
        [[i * 3, before[i + 32] + 5, 77 // (i + 1), i ^ 99, i << 3, 1 - i, i * i, -1, -1][i % 9] for i in range(32)],
    )
    pairs_ = [
        (RNG.integers(-50, 50, (8, n)).astype(t), np.zeros((8, n), t))
        for n, t in ((4, "f4"), (2, "f8"), (4, "i2"), (4, "i1"))
    ]
    lib.launch("vectors", (1,), (8,), [pointer(x) for pair in pairs_ for x in pair])
    for k, ((a, b), change) in enumerate(
        zip(
            pairs_,
            (
                (0, lambda r: r[:, 0] + r[:, 3]),
                (0, lambda r: r[:, 0] * r[:, 1]),
                (1, lambda r: r[:, 1] + r[:, 2]),
                (2, lambda r: r[:, 2] - r[:, 0]),
            ),
        )
    ):
        a[:, change[0]] = change[1](a)
        np.testing.assert_array_equal(a, b, err_msg=str(k))
    x, y = RNG.random(128).astype("f4"), np.zeros(32, "f4")
    lib.launch("copies", (1,), (32,), [pointer(x), pointer(y)])
    np.testing.assert_array_equal(y, x[::-1][:32])
    lib.launch("spaces", (1,), (3,), [pointer(out)])
    assert list(out[:3]) == [2, 1, 4]
    lib.launch("scopes", (1,), (2,), [pointer(out)])
    assert list(out[:2]) == [20, 20]


def test_what_is_not_supported_is_named(tmp_path):
    source = 'extern "C" __global__ void k(int* out) {\n asm volatile("wgmma.fence.sync.aligned;"); out[0] = 1; }'
    ptx = compile_ptx(source, ("-arch=sm_90a",))[0]
    line = next(i for i, text in enumerate(ptx.splitlines(), 1) if "wgmma" in text)
    (tmp_path / "in.ptx").write_text(ptx)
    done = subprocess.run(
        [sys.executable, HERE.parent / "translate.py", str(tmp_path / "in.ptx"), str(tmp_path / "out.so")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 1
        and f"line {line}: 'wgmma.fence.sync.aligned'" in done.stderr
        and not (tmp_path / "out.so").exists()
    )
