"""Floats of PTX against NumPy's and against fractions."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from cuda_kernels import NAMES, RNG, compute, corners, kernels, library, pairs, same


@pytest.mark.parametrize("type_", ["f4", "f8"])
def test_floats(type_):
    lib = library(
        kernels(
            {
                **{
                    n: (f"{type_} {type_} {type_}", e)
                    for n, e in {
                        "add": "x + y",
                        "sub": "x - y",
                        "mul": "x * y",
                        "div": "x / y",
                        "least": "fmin(x, y)",
                        "greatest": "fmax(x, y)",
                        "sign": "copysign(x, y)",
                        "rem": "fmod(x, y)",
                    }.items()
                },
                **{
                    n: (f"{type_} {type_}", e)
                    for n, e in {
                        "root": "sqrt(x)",
                        "neg": "-x",
                        "abs": "fabs(x)",
                        "floor": "floor(x)",
                        "ceil": "ceil(x)",
                        "trunc": "trunc(x)",
                        "rint": "rint(x)",
                    }.items()
                },
                **{
                    n: (f"{type_} {type_} b1", e)
                    for n, e in {
                        "lt": "x < y",
                        "le": "x <= y",
                        "eq": "x == y",
                        "ne": "x != y",
                        "ge": "x >= y",
                        "nlt": "!(x < y)",
                    }.items()
                },
                **{f"to_{t}": (f"{type_} {t}", f"({NAMES[t]})x") for t in ("i4", "u4", "i8", "u8", "f4", "f8")},
                "round_int": (f"{type_} i4", f"__{'float' if type_ == 'f4' else 'double'}2int_rn(x)"),
                "down_int": (f"{type_} i4", f"__{'float' if type_ == 'f4' else 'double'}2int_rd(x)"),
            }
        ),
        "sm_80",
        "-fmad=false",
    )
    a, b = pairs(type_)
    with np.errstate(all="ignore"):
        for name, expected in {
            "add": a + b,
            "sub": a - b,
            "mul": a * b,
            "div": a / b,
            "sign": np.copysign(a, b),
            "rem": np.fmod(a, b),
        }.items():
            same(compute(lib, name, type_, a, b), expected, name)
        for name, function in (("least", np.fmin), ("greatest", np.fmax)):
            actual, expected = compute(lib, name, type_, a, b), function(a, b)
            assert np.array_equal(actual, expected, equal_nan=True)
            zeros = (a == 0) & (b == 0)
            assert (
                np.signbit(actual[zeros])
                == (
                    np.signbit(a[zeros]) | np.signbit(b[zeros])
                    if name == "least"
                    else np.signbit(a[zeros]) & np.signbit(b[zeros])
                )
            ).all()
        for name, expected in {
            "root": np.sqrt(a),
            "neg": -a,
            "abs": abs(a),
            "floor": np.floor(a),
            "ceil": np.ceil(a),
            "trunc": np.trunc(a),
            "rint": np.rint(a),
        }.items():
            same(compute(lib, name, type_, a), expected, name)
        for name, expected in {
            "lt": a < b,
            "le": a <= b,
            "eq": a == b,
            "ne": a != b,
            "ge": a >= b,
            "nlt": ~(a < b),
        }.items():
            np.testing.assert_array_equal(compute(lib, name, "b1", a, b), expected, err_msg=name)
        same(compute(lib, "to_f4", "f4", a), a.astype("f4"), "to f4")
        same(compute(lib, "to_f8", "f8", a), a.astype("f8"), "to f8")

    def clamped(t, x, way):
        info = np.iinfo(t)
        if np.isnan(x):
            return (
                0 if type_ == "f4" and t[1] == "4" else 1 << (8 * info.dtype.itemsize - 1) if t[0] == "u" else info.min
            )
        return (
            info.max if x == np.inf else info.min if x == -np.inf else max(info.min, min(info.max, int(way(float(x)))))
        )

    for name, t, way in (
        ("to_i4", "i4", np.trunc),
        ("to_u4", "u4", np.trunc),
        ("to_i8", "i8", np.trunc),
        ("to_u8", "u8", np.trunc),
        ("round_int", "i4", np.rint),
        ("down_int", "i4", np.floor),
    ):
        np.testing.assert_array_equal(
            compute(lib, name, t, a), np.array([clamped(t, x, way) for x in a], dtype=object).astype(t), err_msg=name
        )


@pytest.mark.parametrize("type_", ["f4", "f8"])
def test_directed_roundings(type_):
    letter = "f" if type_ == "f4" else "d"
    ways = {"rn": "nearest", "rz": "zero", "rd": "down", "ru": "up"}
    expressions = {
        f"{op}_{way}": (f"{type_} {type_} {type_}", f"__{letter}{op}_{way}(x, y)")
        for op in ("add", "sub", "mul", "div")
        for way in ways
    }
    expressions |= {
        f"fma_{way}": (f"{type_} {type_} {type_} {type_}", f"__{'fmaf' if letter == 'f' else 'fma'}_{way}(x, y, z)")
        for way in ways
    }
    expressions |= {f"sqrt_{way}": (f"{type_} {type_}", f"__{letter}sqrt_{way}(x)") for way in ways} | {
        f"narrow_{way}": ("f8 f4", f"__double2float_{way}(x)") for way in ways
    }
    expressions |= {f"int_{way}": ("i8 f4", f"__ll2float_{way}(x)") for way in ways} | {
        f"unsigned_{way}": ("u8 f4", f"__ull2float_{way}(x)") for way in ways
    }
    lib = library(kernels(expressions))
    scale = RNG.integers(-20, 20, (3, 400))
    a, b, c = (np.ldexp(RNG.standard_normal(400), s).astype(type_) for s in scale)

    def check(name, way, actual, exact):
        """`actual` is the number of its type that is next to the exact one on the side that `way` says."""
        for x, e in zip(actual, exact):
            y = Fraction(float(x))
            below, above = (Fraction(float(np.nextafter(x, x.dtype.type(side)))) for side in (-np.inf, np.inf))
            side = way if way != "zero" else "down" if e > 0 else "up"
            good = {
                "down": y <= e < above,
                "up": below < e <= y,
                "nearest": abs(y - e) <= min(abs(above - e), abs(below - e)),
            }[side]
            assert good, (name, x, float(e))

    exact = [[Fraction(float(v)) for v in array] for array in (a, b, c)]
    for way, meaning in ways.items():
        for op, function in (
            ("add", lambda p, q: p + q),
            ("sub", lambda p, q: p - q),
            ("mul", lambda p, q: p * q),
            ("div", lambda p, q: p / q),
        ):
            check(
                f"{op}_{way}",
                meaning,
                compute(lib, f"{op}_{way}", type_, a, b),
                [function(p, q) for p, q in zip(*exact[:2])],
            )
        check(f"fma_{way}", meaning, compute(lib, f"fma_{way}", type_, a, b, c), [p * q + r for p, q, r in zip(*exact)])
        doubles = RNG.standard_normal(400)
        check(f"narrow_{way}", meaning, compute(lib, f"narrow_{way}", "f4", doubles), [Fraction(v) for v in doubles])
        integers = RNG.integers(-(2**62), 2**62, 400)
        check(f"int_{way}", meaning, compute(lib, f"int_{way}", "f4", integers), [Fraction(int(v)) for v in integers])
        integers = RNG.integers(0, 2**64 - 1, 400, dtype="u8")
        check(
            f"unsigned_{way}",
            meaning,
            compute(lib, f"unsigned_{way}", "f4", integers),
            [Fraction(int(v)) for v in integers],
        )
        roots = compute(lib, f"sqrt_{way}", type_, abs(a))
        for x, y in zip(abs(a), roots):  # compare squares
            e, below, above = (
                Fraction(float(x)),
                *(Fraction(float(np.nextafter(y, y.dtype.type(s)))) ** 2 for s in (0, np.inf)),
            )
            square = Fraction(float(y)) ** 2
            assert {
                "rn": below < e < above,
                "rz": square <= e < above,
                "rd": square <= e < above,
                "ru": below < e <= square,
            }[way]


MATH = {
    "exp": 2,
    "exp2": 2,
    "expm1": 2,
    "log": 2,
    "log2": 2,
    "log10": 3,
    "log1p": 2,
    "tanh": 2,
    "sinh": 3,
    "cosh": 2,
    "sin": 2,
    "cos": 2,
    "tan": 4,
    "atan": 2,
    "asinh": 4,
    "cbrt": 1,
    "sqrt": 0,
}


@pytest.mark.parametrize("type_", ["f4", "f8"])
def test_libdevice(type_):
    """NVIDIA's own formulas, which come as PTX, give what libm gives, to the last places that its guide has."""
    lib = library(
        kernels(
            {
                **{name: (f"{type_} {type_}", f"{name}{'f' if type_ == 'f4' else ''}(x)") for name in MATH},
                "power": (f"{type_} {type_} {type_}", f"pow{'f' if type_ == 'f4' else ''}(x, y)"),
            }
        )
    )
    x = np.concatenate(
        [corners(type_, 400), np.geomspace(1e-30, 1e30, 300).astype(type_), np.linspace(-90, 90, 500).astype(type_)]
    )
    with np.errstate(all="ignore"):
        for name, ulps in MATH.items():
            expected = getattr(np, {"asinh": "arcsinh", "atan": "arctan"}.get(name, name))(
                x.astype("f8") if type_ == "f4" else x.astype(np.longdouble)
            ).astype(type_)
            same(compute(lib, name, type_, x), expected, name, ulps)
        a, b = pairs(type_)
        expected = np.power(a.astype("f8"), b.astype("f8")).astype(type_)
        same(compute(lib, "power", type_, a, b), expected, "power", 4)


def test_flushing_of_subnormals():
    source = kernels(
        {
            "mul": ("f4 f4 f4", "x * y"),
            "add": ("f4 f4 f4", "x + y"),
            "less": ("f4 f4 b1", "x < y"),
            "wide": ("f4 f8", "(double)x"),
            "narrow": ("f8 f4", "(float)x"),
        }
    )
    a = np.array([1e-30, 1e-40, -1e-40, 1.2e-38, 1e-20], "f4")
    b = np.array([1e-10, 1, 2, -1.18e-38, 1], "f4")
    for option, expected in (("-ftz=true", [0, 0, -0.0, 0, 1e-20]), ("-ftz=false", a * b)):
        lib = library(source, "sm_80", option)
        same(compute(lib, "mul", "f4", a, b)[[0, 1, 2, 4]], np.array(expected, "f4")[[0, 1, 2, 4]], option)
    lib = library(source, "sm_80", "-ftz=true")
    same(
        compute(lib, "add", "f4", a, b),
        np.array([1e-10, 1, 2, 0, 1], "f4") + np.array([1e-30, 0, 0, 0, 1e-20], "f4"),
        "add",
    )
    assert list(
        compute(lib, "less", "b1", np.array([0, -1e-40, 1e-40], "f4"), np.array([1e-40, 1e-40, 1e-37], "f4"))
    ) == [False, False, True]
    same(compute(lib, "wide", "f8", a), np.array([1e-30, 0, -0.0, 1.2e-38, 1e-20], "f4").astype("f8"), "wide")
    same(compute(lib, "narrow", "f4", np.array([1e-40, 1e-30])), np.array([0, 1e-30], "f4"), "narrow")


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_sixteen_bits(arch):
    """half and __nv_bfloat16, through NVIDIA's own headers, against NumPy's and ml_dtypes'."""
    binary = {
        "add": "x + y",
        "sub": "x - y",
        "mul": "x * y",
        "fma": "__hfma(x, y, y)",
        "least": "__hmin(x, y)",
        "greatest": "__hmax(x, y)",
    }
    expressions = {}
    for short, one in (("h", "__half"), ("b", "__nv_bfloat16")):
        pair = "__half2" if short == "h" else "__nv_bfloat162"
        for op, e in binary.items():
            paired = e.replace("__hfma", "__hfma2").replace("__hmin", "__hmin2").replace("__hmax", "__hmax2")
            expressions |= {f"{short}_{op}": (f"{one} {one} {one}", e)}
            expressions |= {f"{short}2_{op}": (f"{pair} {pair} {pair}", paired)}
        for t in ("f4", "f8", "i4"):
            expressions |= {f"{short}_from_{t}": (f"{t} {one}", f"{one}(x)")}
            expressions |= {f"{short}_to_{t}": (f"{one} {t}", f"({NAMES[t]})x")}
        expressions |= {f"{short}_less": (f"{one} {one} b1", "x < y"), f"{short}_exp": (f"{one} {one}", "hexp(x)")}
    lib = library(kernels(expressions, "#include <cuda_fp16.h>\n#include <cuda_bf16.h>"), arch)
    for short, dtype in (("h", np.dtype("f2")), ("b", np.dtype(ml_dtypes.bfloat16))):
        with np.errstate(all="ignore"):
            a, b = (
                np.concatenate([corners("f4", 100)[:400], x]).astype(dtype)
                for x in (RNG.standard_normal(600).astype("f4"), RNG.standard_normal(600).astype("f4"))
            )
            b = np.roll(b, 7)
            n = a.size // 2 * 2
            a, b = a[:n], b[:n]
            x, y = a.astype("f8"), b.astype("f8")
            whole = [
                Fraction(p) * Fraction(q) + Fraction(q) if np.isfinite([p, q]).all() else float(p * q + q)
                for p, q in zip(x, y)
            ]
            fused = np.array([nearest(v, dtype) for v in whole])
            for op, expected in {
                "add": x + y,
                "sub": x - y,
                "mul": x * y,
                "fma": fused,
                "least": np.fmin(x, y),
                "greatest": np.fmax(x, y),
            }.items():
                for width in ("", "2"):
                    out = compute(lib, f"{short}{width}_{op}", dtype, a, b, at_once=2 if width else 1)
                    rounded = expected.astype(dtype)
                    nan = np.isnan(rounded.astype("f4"))
                    np.testing.assert_array_equal(np.isnan(out.astype("f4")), nan, err_msg=op)
                    np.testing.assert_array_equal(
                        out[~nan].astype("f4"), rounded[~nan].astype("f4"), err_msg=f"{short}{width}_{op}"
                    )
            np.testing.assert_array_equal(compute(lib, f"{short}_less", "b1", a, b), x < y)
            for t in ("f4", "f8", "i4"):
                source = corners(t)
                expected = np.array([nearest(float(v), dtype) for v in source])
                out = compute(lib, f"{short}_from_{t}", dtype, source).astype("f4")
                wrong = ~((out == expected) | (np.isnan(out) & np.isnan(expected)))
                assert not wrong.any(), (short, t, source[wrong][:5], out[wrong][:5], expected[wrong][:5])
            for t in ("f4", "f8"):
                out = compute(lib, f"{short}_to_{t}", t, a)
                assert np.array_equal(out, a.astype(t), equal_nan=True)
            small = np.linspace(-5, 5, 100).astype(dtype)
            out, exact = compute(lib, f"{short}_exp", dtype, small).astype("f8"), np.exp(small.astype("f8"))
            assert (abs(out - exact) <= exact * (2e-3 if short == "h" else 1e-2)).all()


def nearest(x, dtype) -> float:
    """A fraction or float rounded once to a format of 16 bits, to the nearest, ties to even."""
    if isinstance(x, float) and (not np.isfinite(x) or x == 0):
        return x
    digits, least, most = (11, -14, 15) if dtype == "f2" else (8, -126, 127)
    x = Fraction(x)
    exponent = 0 if x == 0 else abs(x.numerator).bit_length() - x.denominator.bit_length()
    exponent -= abs(x) < Fraction(2) ** exponent
    step = Fraction(2) ** (max(exponent, least) - digits + 1)
    value = round(x / step) * step
    return float(value) if abs(value) < Fraction(2) ** (most + 1) else float("inf") if x > 0 else -float("inf")
