"""What the lanes of a warp do together, against NumPy."""

import ml_dtypes
import numpy as np
import pytest
from cuda_kernels import RNG, library, pointer, source


@pytest.mark.parametrize("order", ["0", "1", "2"])
def test_warps(order, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_ORDER", order)
    lib = library(source("warps"))
    a, b = RNG.integers(0, 100, 64).astype("i4"), RNG.integers(0, 32, 64).astype("i4")
    i = np.arange(64)
    lane, base = i % 32, i // 32 * 32
    per_warp = lambda f: np.repeat([f(a[:32]), f(a[32:])], 32).astype("i8").astype("u4").view("i4")  # noqa: E731
    bits = lambda on: sum(1 << k for k, v in enumerate(on) if v)  # noqa: E731
    expected = {
        "up": np.where(lane >= 3, a[np.maximum(i - 3, 0)], a),
        "down": np.where(lane % 8 + 5 < 8, a[np.minimum(i + 5, 63)], a),
        "xored": a[base + (lane ^ 9)],
        "from": a[base + b],
        "from4": a[i // 4 * 4 + b % 4],
        "all": per_warp(lambda w: (w > 5).all()),
        "any": per_warp(lambda w: (w > 95).any()),
        "ballot": per_warp(lambda w: bits(w > 50)),
        "match": np.array([bits(a[k // 32 * 32 : k // 32 * 32 + 32] % 3 == a[k] % 3) for k in i])
        .astype("u4")
        .view("i4"),
        "redux": per_warp(np.sum),
        "reduxmin": per_warp(lambda w: (w - 50).min()),
        "reduxmax": per_warp(lambda w: (w - 50).astype("u4").max()),
        "reduxor": per_warp(np.bitwise_or.reduce),
        "halves": np.where(lane < 16, a[base + 3], a[base + 20]),
        "odd": np.where(i % 2, per_warp(lambda w: bits((w > 50) & (np.arange(32) % 2 == 1))), -7),
        "lanes": lane + 100 * (i // 32),
    }
    for name, values in expected.items():
        out = np.zeros(64, "i4")
        lib.launch(name, (1,), (64,), [pointer(a), pointer(b), pointer(out)])
        np.testing.assert_array_equal(out, values, err_msg=name)
    wide, got = RNG.integers(-(2**60), 2**60, 64), np.zeros(64, "i8")
    lib.launch("longs", (1,), (64,), [pointer(wide), pointer(got)])
    np.testing.assert_array_equal(got, wide[i ^ 1])
    out = np.zeros(64, "i4")
    for name, arguments, values in (
        ("matchall", [a], 3),
        ("gone", [a], np.where(lane == 7, 0, ~(1 << 7))),
        ("predicate", [], lane < 28),
    ):
        out[:] = 0
        lib.launch(name, (1,), (64,), [*map(pointer, arguments), pointer(out)])
        np.testing.assert_array_equal(out, np.broadcast_to(values, 64), err_msg=name)
    with pytest.raises(RuntimeError, match="mask 0xf leaves it out"):
        lib.launch("outsider", (1,), (32,), [pointer(out)])


def test_tensor_cores():
    lib = library(source("tensor_cores"))
    g, t = np.arange(32) // 4, np.arange(32) % 4

    def fragments(K, wide):
        """Rows and columns of each lane's elements of A, B and C, as the PTX manual's pictures have them."""
        i = np.arange(16 * K // 32)
        rows = g[:, None] + 8 * (i // wide % 2)
        a = rows, t[:, None] * wide + i % wide + 4 * wide * (i // (2 * wide))
        j = np.arange(8 * K // 32)
        b = t[:, None] * wide + j % wide + 4 * wide * (j // wide), g[:, None] + 0 * j
        k = np.arange(4)
        return a, b, (g[:, None] + 8 * (k // 2), t[:, None] * 2 + k % 2)

    for name, K, dtype in (
        ("bf16_16", 16, ml_dtypes.bfloat16),
        ("f16_16", 16, "f2"),
        ("bf16_8", 8, ml_dtypes.bfloat16),
        ("f16_8", 8, "f2"),
        ("tf32_8", 8, "f4"),
        ("tf32_4", 4, "f4"),
    ):
        A, B, C = (RNG.standard_normal(shape).astype("f4") for shape in ((16, K), (K, 8), (16, 8)))
        A, B = (x.astype(dtype) for x in (A, B))
        if dtype == "f4":  # the last 13 bits are not read
            left, right = ((x.view("u4") & np.uint32(0xFFFFE000)).view("f4") for x in (A, B))
        else:
            left, right = A.astype("f4"), B.astype("f4")
        a, b, c = fragments(K, 1 if dtype == "f4" else 2)
        held = np.ascontiguousarray(C[c])
        lib.launch(
            name, (1,), (32,), [pointer(np.ascontiguousarray(A[a])), pointer(np.ascontiguousarray(B[b])), pointer(held)]
        )
        np.testing.assert_allclose(held, (left.astype("f8") @ right + C)[c], atol=2e-6 * K, err_msg=name)
    A, B, C = (RNG.standard_normal(shape).astype("f2") for shape in ((16, 16), (16, 8), (16, 8)))
    a, b, c = fragments(16, 2)
    held = np.ascontiguousarray(C[c])
    lib.launch(
        "halves", (1,), (32,), [pointer(np.ascontiguousarray(A[a])), pointer(np.ascontiguousarray(B[b])), pointer(held)]
    )
    np.testing.assert_allclose(held.astype("f8"), (A.astype("f8") @ B + C)[c], atol=1e-2)
    A, B, C = RNG.standard_normal((8, 4)), RNG.standard_normal((4, 8)), RNG.standard_normal((8, 8))
    held = np.ascontiguousarray(C[g[:, None], t[:, None] * 2 + np.arange(2)])
    lib.launch(
        "doubles",
        (1,),
        (32,),
        [pointer(np.ascontiguousarray(A[g, t])), pointer(np.ascontiguousarray(B[t, g])), pointer(held)],
    )
    np.testing.assert_allclose(held, (A @ B + C)[g[:, None], t[:, None] * 2 + np.arange(2)], rtol=1e-13)
    given, out = RNG.integers(0, 65536, (4, 8, 8)).astype("u2"), np.zeros(224, "u4")
    lib.launch("matrices", (1,), (32,), [pointer(given), pointer(out)])
    pair = lambda m: m[g, 2 * t].astype("u4") | m[g, 2 * t + 1].astype("u4") << 16  # noqa: E731
    np.testing.assert_array_equal(out[:128].reshape(32, 4), np.stack([pair(given[k]) for k in range(4)], 1))
    np.testing.assert_array_equal(out[128:192].reshape(32, 2), np.stack([pair(given[k].T) for k in range(2)], 1))
    np.testing.assert_array_equal(out[192:], pair(given[1]))
    with pytest.raises(RuntimeError, match="mma without all 32 lanes"):
        lib.launch(
            "missing",
            (1,),
            (32,),
            [pointer(np.zeros(64, "u4")), pointer(np.zeros(32, "u4")), pointer(np.zeros(128, "f4"))],
        )
