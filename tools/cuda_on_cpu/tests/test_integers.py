"""Integers of PTX against Python's."""

from fractions import Fraction

import numpy as np
import pytest
from cuda_kernels import NAMES, compute, corners, kernels, library, pairs, source

INTEGER = {
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "bits": "(x & y) ^ (x | ~y)",
    "least": "x < y ? x : y",
    "greatest": "x > y ? x : y",
}


@pytest.mark.parametrize("type_", ["i4", "u4", "i8", "u8", "i2", "u2", "i1", "u1"])
def test_integers(type_):
    lib = library(
        kernels(
            {name: (f"{type_} {type_} {type_}", e) for name, e in INTEGER.items()}
            | {
                **{
                    name: (f"{type_} {type_} {type_}", f"y == 0 ? 0 : x {op} y")
                    for name, op in (("quotient", "/"), ("rest", "%"))
                },
                **{
                    name: (f"{type_} {type_} {type_}", f"x {op} (y & {8 * int(type_[1]) - 1})")
                    for name, op in (("left", "<<"), ("right", ">>"))
                },
                "to_float": (f"{type_} f4", "(float)x"),
                "to_double": (f"{type_} f8", "(double)x"),
                **{f"to_{t}": (f"{type_} {t}", f"({NAMES[t]})x") for t in ("i1", "u2", "i4", "u8")},
                "less": (f"{type_} {type_} b1", "x < y"),
            }
        )
    )
    a, b = pairs(type_)
    most = 2 ** (8 * int(type_[1])) - 1

    def wide(x):
        return x.astype(object)

    def wrap(x):
        return np.array([int(v) & most for v in x], "u8").astype(f"u{type_[1]}").view(type_)

    def cut(p, q):
        return 0 if q == 0 else int(Fraction(int(p), int(q)))

    quotients = [cut(p, q) for p, q in zip(a, b)]
    amount = wide(b) & (8 * int(type_[1]) - 1)
    expected = {
        "add": wide(a) + wide(b),
        "sub": wide(a) - wide(b),
        "mul": wide(a) * wide(b),
        "bits": wide((a & b) ^ (a | ~b)),
        "least": wide(np.minimum(a, b)),
        "greatest": wide(np.maximum(a, b)),
        "quotient": quotients,
        "rest": [0 if q == 0 else int(p) - k * int(q) for p, q, k in zip(a, b, quotients)],
        "left": [int(p) << int(k) for p, k in zip(a, amount)],
        "right": [int(p) >> int(k) for p, k in zip(a, amount)],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(compute(lib, name, type_, a, b), wrap(values), err_msg=name)
    np.testing.assert_array_equal(compute(lib, "less", "b1", a, b), a < b)
    for name, t in (("to_float", "f4"), ("to_double", "f8"), *((f"to_{t}", t) for t in ("i1", "u2", "i4", "u8"))):
        np.testing.assert_array_equal(compute(lib, name, t, a), a.astype(t), err_msg=name)


def test_intrinsics_of_integers():
    lib = library(
        kernels(
            {
                "clz": ("u4 u4", "__clz(x)"),
                "clzll": ("u8 u4", "__clzll(x)"),
                "popc": ("u8 u4", "__popcll(x)"),
                "brev": ("u4 u4", "__brev(x)"),
                "brevll": ("u8 u8", "__brevll(x)"),
                "ffs": ("u4 u4", "__ffs(x)"),
                "mulhi": ("i4 i4 i4", "__mulhi(x, y)"),
                "umulhi": ("u8 u8 u8", "__umul64hi(x, y)"),
                "mul64hi": ("i8 i8 i8", "__mul64hi(x, y)"),
                "lc": ("u4 u4 u4", "__funnelshift_lc(x, 0x12345678, y)"),
                "l": ("u4 u4 u4", "__funnelshift_l(x, 0x12345678, y)"),
                "rc": ("u4 u4 u4", "__funnelshift_rc(x, 0x12345678, y)"),
                "r": ("u4 u4 u4", "__funnelshift_r(x, 0x12345678, y)"),
                "prmt": ("u4 u4 u4", "__byte_perm(x, 0x89abcdef, y)"),
                "sad": ("i4 i4 u4", "__sad(x, y, 7u)"),
                "usad": ("u4 u4 u4", "__usad(x, y, 7u)"),
                "bfe": ("u4 u4 u4", "bfe(x, y & 63, y >> 6 & 63)"),
                "bfes": ("i4 u4 i4", "bfes(x, y & 63, y >> 6 & 63)"),
                "bfi": ("u4 u4 u4", "bfi(x, 0x0f0f0f0f, y & 63, y >> 6 & 63)"),
                "bfind": ("i4 u4", "bfind(x)"),
                "lop": ("u4 u4 u4", "lop(x, y, 0xff00f0f0)"),
                "wide": ("i4 i4 i8", "(long long)x * y"),
                "mul24": ("i4 i4 i4", "__mul24(x, y)"),
                "shl": ("u4 u4 u4", "shl(x, y)"),
                "shr": ("i4 u4 i4", "shr(x, y)"),
                "high128": ("u8 u8 u8", "(unsigned long long)(((unsigned __int128)x * y + x) >> 64)"),
                "dp4a": ("i4 i4 i4", "__dp4a(x, y, 3)"),
                "satadd": ("i4 i4 i4", "sat(x, y)"),
            },
            source("integers"),
        ),
        "sm_80",
        "--device-int128",
    )
    u32, u64, i32 = corners("u4"), corners("u8"), corners("i4")

    def check(name, type_, function, *arrays):
        expected = np.array([function(*map(int, row)) for row in zip(*arrays)], dtype=object).astype(type_)
        np.testing.assert_array_equal(compute(lib, name, type_, *arrays), expected, err_msg=name)

    check("clz", "u4", lambda x: 32 - x.bit_length(), u32)
    check("clzll", "u4", lambda x: 64 - x.bit_length(), u64)
    check("popc", "u4", lambda x: x.bit_count(), u64)
    check("brev", "u4", lambda x: int(f"{x:032b}"[::-1], 2), u32)
    check("brevll", "u8", lambda x: int(f"{x:064b}"[::-1], 2), u64)
    check("ffs", "u4", lambda x: (x & -x).bit_length(), u32)
    check("bfind", "u4", lambda x: ((x if x >= 0 else ~x).bit_length() - 1) & 0xFFFFFFFF, i32)
    signed = lambda x, n: (x & (2**n - 1)) - ((x >> (n - 1) & 1) << n)  # noqa: E731
    for name, type_, other, function in (
        ("mulhi", "i4", "i4", lambda x, y: x * y >> 32),
        ("umulhi", "u8", "u8", lambda x, y: x * y >> 64),
        ("mul64hi", "i8", "i8", lambda x, y: x * y >> 64),
        ("lc", "u4", "u4", lambda x, y: ((0x12345678 << 32 | x) << min(y, 32)) >> 32 & 0xFFFFFFFF),
        ("l", "u4", "u4", lambda x, y: ((0x12345678 << 32 | x) << y % 32) >> 32 & 0xFFFFFFFF),
        ("rc", "u4", "u4", lambda x, y: (0x12345678 << 32 | x) >> min(y, 32) & 0xFFFFFFFF),
        ("r", "u4", "u4", lambda x, y: (0x12345678 << 32 | x) >> y % 32 & 0xFFFFFFFF),
        (
            "prmt",
            "u4",
            "u4",
            lambda x, y: sum(((0x89ABCDEF << 32 | x) >> 8 * (y >> 4 * i & 7) & 255) << 8 * i for i in range(4)),
        ),
        ("sad", "i4", "i4", lambda x, y: abs(x - y) + 7 & 0xFFFFFFFF),
        ("usad", "u4", "u4", lambda x, y: abs(x - y) + 7 & 0xFFFFFFFF),
        ("bfe", "u4", "u4", lambda x, y: x >> (y & 63) & ((1 << (y >> 6 & 63)) - 1)),
        ("bfes", "i4", "u4", lambda x, y: signed(signed(x >> (y & 63), y >> 6 & 63) if y >> 6 & 63 else 0, 32)),
        (
            "bfi",
            "u4",
            "u4",
            lambda x, y: (
                (0x0F0F0F0F & ~(((1 << (y >> 6 & 63)) - 1) << (y & 63)) | (x & ((1 << (y >> 6 & 63)) - 1)) << (y & 63))
                & 0xFFFFFFFF
            ),
        ),
        ("lop", "u4", "u4", lambda x, y: (x & y) | (x & 0xFF00F0F0) | (y & 0xFF00F0F0)),
        ("wide", "i4", "i4", lambda x, y: x * y),
        ("mul24", "i4", "i4", lambda x, y: signed(signed(x, 24) * signed(y, 24), 32)),
        ("shl", "u4", "u4", lambda x, y: x << y & 0xFFFFFFFF if y < 32 else 0),
        ("shr", "i4", "u4", lambda x, y: x >> min(y, 31)),
        ("high128", "u8", "u8", lambda x, y: x * y + x >> 64),
        (
            "dp4a",
            "i4",
            "i4",
            lambda x, y: signed(3 + sum(signed(x >> 8 * i, 8) * signed(y >> 8 * i, 8) for i in range(4)), 32),
        ),
        ("satadd", "i4", "i4", lambda x, y: max(min(x + y, 2**31 - 1), -(2**31))),
    ):
        out = {"bfes": "i4", "wide": "i8", "sad": "u4"}.get(name, type_)
        check(name, out, function, *pairs(type_, other))
