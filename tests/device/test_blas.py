"""The BLAS's own functions against NumPy's operators, which are the definition."""

import ctypes
import types

import numpy as np
import pytest

from nanograd.device import blas
from nanograd.device.blas import add_product, axpby

REALS = [np.float32, np.float64]
DTYPES = [*REALS, np.complex128]
needs_blas = pytest.mark.skipif(
    blas.function("gemm", np.dtype("float32")) is None, reason="NumPy's BLAS is not one that is known"
)


@pytest.fixture
def calls(monkeypatch):
    """The arguments of every call of the BLAS."""
    seen, real = [], blas.function

    def watched(name, dtype):
        found = real(name, dtype)
        if found is None:
            return None

        def call(*arguments):
            seen.append((name, *arguments))
            found(*arguments)

        return call

    monkeypatch.setattr(blas, "function", watched)
    return seen


@pytest.fixture
def way(request, monkeypatch):
    """With "numpy" there is no BLAS that could be called."""
    if request.param == "numpy":
        monkeypatch.setattr(blas, "function", lambda name, dtype: None)
    return request.param


by = pytest.mark.parametrize("way", ["blas", "numpy"], indirect=True)


def numbers(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


# Each lays out a matrix of a shape in another way. Whoever calls fills it.
LAYOUTS = {
    "by rows": lambda m, n, dtype: np.empty((m, n), dtype),
    "transposed": lambda m, n, dtype: np.empty((n, m), dtype).T,
    "some of the rows": lambda m, n, dtype: np.empty((m + 4, n), dtype)[2 : m + 2],
    "some of the columns": lambda m, n, dtype: np.empty((m, n + 5), dtype)[:, 3 : n + 3],
    "some of the columns, transposed": lambda m, n, dtype: np.empty((n, m + 5), dtype)[:, 3 : m + 3].T,
    "every other row": lambda m, n, dtype: np.empty((2 * m, n), dtype)[::2],
    "every other column": lambda m, n, dtype: np.empty((m, 2 * n), dtype)[:, ::2],
    "rows backwards": lambda m, n, dtype: np.empty((m, n), dtype)[::-1],
    "columns backwards": lambda m, n, dtype: np.empty((m, n), dtype)[:, ::-1],
}
# With a line of one element a matrix is contiguous in several ways at once, and its strides mean little.
SHAPES = [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 5), (1, 4, 1), (3, 1, 1), (1, 1, 1), (70, 33, 41)]


def laid_out(layout, contents):
    array = LAYOUTS[layout](*contents.shape, contents.dtype)
    array[...] = contents
    return array


def close(found, expected):
    tolerance = 100 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@by
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_is_added_however_the_matrices_lie(way, layout, place, dtype):
    for M, K, N in SHAPES:
        matrices = [numbers(shape, dtype) for shape in ((M, K), (K, N), (M, N))]
        a, b, out = (laid_out(layout if i == place else "by rows", x) for i, x in enumerate(matrices))
        add_product(a, b, out)
        close(out, matrices[2] + matrices[0] @ matrices[1])
        for given, before in ((a, matrices[0]), (b, matrices[1])):
            np.testing.assert_array_equal(given, before, "what is given is read only")


@by
@pytest.mark.parametrize("layouts", [("transposed", "transposed"), ("some of the columns", "transposed")])
@pytest.mark.parametrize("dtype", REALS)
def test_a_product_of_two_that_lie_in_ways_of_their_own(way, layouts, dtype):
    matrices = numbers((6, 4), dtype), numbers((4, 5), dtype), numbers((6, 5), dtype)
    a, b = (laid_out(layout, x) for layout, x in zip(layouts, matrices, strict=False))
    out = laid_out("some of the columns", matrices[2])
    add_product(a, b, out)
    close(out, matrices[2] + matrices[0] @ matrices[1])


@by
@pytest.mark.parametrize("shape", [(3, 0, 5), (0, 4, 5), (3, 4, 0), (0, 0, 0)])
def test_an_empty_product_adds_nothing(way, shape):
    M, K, N = shape
    out = np.full((M, N), 7.0)
    add_product(np.empty((M, K)), np.empty((K, N)), out)
    np.testing.assert_array_equal(out, np.full((M, N), 7.0))


@by
@pytest.mark.parametrize("layout", ["by rows", "some of the columns", "every other row", "transposed"])
@pytest.mark.parametrize("dtype", REALS)
def test_what_lies_around_the_sum_is_not_written(way, layout, dtype):
    around = np.full((40, 40), 7, dtype)
    inside = {
        "by rows": around.reshape(-1)[100 : 100 + 54].reshape(6, 9),
        "some of the columns": around[5:11, 3:12],
        "every other row": around[4:16:2, 3:12],
        "transposed": around[5:14, 3:9].T,
    }[layout]
    expected = around.copy()
    a, b = numbers((6, 4), dtype), numbers((4, 9), dtype)
    add_product(a, b, inside)
    close(inside, 7 + a @ b)
    inside[...] = 7
    np.testing.assert_array_equal(around, expected)


@by
@pytest.mark.parametrize(
    "shapes",
    [
        *[((3, 4), (5, 6), (3, 6)), ((3, 4), (4, 6), (3, 5)), ((3, 4), (4, 6), (2, 6)), ((3, 4), (4, 1), (1, 3))],
        *[((1, 4), (4, 6), (3, 6)), ((3, 4), (4, 1), (3, 6))],
    ],
)
@pytest.mark.parametrize("dtype", REALS)
def test_shapes_that_do_not_fit_change_nothing(way, shapes, dtype):
    a, b, out = (numbers(shape, dtype) for shape in shapes)
    before = out.copy()
    with pytest.raises(ValueError, match=r"cannot be added|matmul"):
        add_product(a, b, out)
    np.testing.assert_array_equal(out, before)


@needs_blas
@pytest.mark.parametrize("layout", ["by rows", "transposed", "some of the rows", "some of the columns"])
@pytest.mark.parametrize("dtype", REALS)
def test_the_blas_takes_what_it_can(calls, layout, dtype):
    a, b = (laid_out(layout, numbers(shape, dtype)) for shape in ((3, 4), (4, 5)))
    for out in (np.zeros((3, 5), dtype), np.zeros((3, 9), dtype)[:, 2:7]):
        add_product(a, b, out)
    assert [name for name, *_ in calls] == ["gemm", "gemm"]


@needs_blas
def test_the_blas_is_not_asked_for_what_it_cannot(calls):
    x = np.ones((4, 4))
    backwards, turned, mixed = x[::-1], np.ones((4, 4)).T, x.astype(np.float32)
    products = [(backwards, x, x), (x, backwards, x), (x, x, turned), (mixed, x, x), (x, mixed, x), (x, x, mixed)]
    products += [(x[:, :0], x[:0], x), (x[:0], x, x[:0]), (x + 0j, x + 0j, x + 0j)]
    for a, b, out in products:
        add_product(a, b, out.copy(order="K"))
    assert not calls


@by
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_scaled_array_is_added_to_another(way, dtype, n):
    x, y = numbers((n,), dtype), numbers((n,), dtype, seed=1)
    found, given = y.copy(), x.copy()
    axpby(0.3, given, -0.7, found)
    close(found, dtype(0.3) * x + dtype(-0.7) * y)
    np.testing.assert_array_equal(given, x)


@by
@pytest.mark.parametrize("part", [slice(3, 9), slice(3, 12, 3), slice(9, 2, -1)])
@pytest.mark.parametrize("dtype", REALS)
def test_a_part_of_an_array_is_scaled_and_added_to_and_no_other(way, part, dtype):
    x, y = numbers((20,), dtype), numbers((20,), dtype, seed=1)
    expected = y.copy()
    expected[part] = dtype(0.3) * x[part] + dtype(-0.7) * y[part]
    axpby(0.3, x[part], -0.7, y[part])
    close(y, expected)


@by
def test_two_parts_that_lie_in_different_ways(way):
    x, y = numbers((20,)), numbers((10,), seed=1)
    for given in (x[::2], x[9::-1], x[:10].astype(np.float32)):
        expected = 2.0 * given + 3.0 * y
        found = y.copy()
        axpby(2.0, given, 3.0, found)
        close(found, expected)
    expected = 2.0 * y + 3.0 * x[::2]
    axpby(2.0, y, 3.0, x[::2])
    close(x[::2], expected)


@by
def test_lengths_that_do_not_fit_are_refused(way):
    x, y = np.ones(10), np.ones(12)
    with pytest.raises(ValueError, match="broadcast"):
        axpby(2.0, x, 1.0, y)
    np.testing.assert_array_equal(y, 1)


@needs_blas
@pytest.mark.parametrize("dtype", REALS)
def test_the_blas_adds_arrays_that_lie_the_same_way(calls, dtype):
    axpby(2.0, np.ones(5, dtype), 3.0, np.ones(5, dtype))
    assert [call[:2] for call in calls] == [("axpby", 5)]
    for x, y in ((np.ones(10, dtype)[::2], np.ones(10, dtype)[::2]), (np.ones(5, np.float16), np.ones(5, dtype))):
        axpby(2.0, x, 3.0, y)
    axpby(2.0, np.ones(1, dtype), 3.0, np.ones(5, dtype))
    assert len(calls) == 1


@by
def test_a_product_is_not_added_where_it_may_not_be_written(way):
    out = np.zeros((3, 3))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        add_product(np.eye(3), np.eye(3), out)
    assert not out.any()


@by
def test_an_array_that_may_not_be_written_is_not(way):
    y = np.zeros(3)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        axpby(1.0, np.ones(3), 1.0, y)
    assert not y.any()


@by
def test_a_column_whose_numbers_are_no_whole_number_of_them_apart(way):
    records = np.zeros(4, [("number", np.float32), ("more", np.int16)])
    records["number"] = range(4)
    out = np.zeros((4, 2), np.float32)
    add_product(records["number"][:, None], np.ones((1, 2), np.float32), out)
    np.testing.assert_array_equal(out, [[i, i] for i in range(4)])


# Which function of which library


class Function:
    """What ctypes makes of a name in a library."""

    def __init__(self, answer=None):
        self.answer = answer

    def __call__(self):
        return self.answer


def library(config, *names):
    """An OpenBLAS with these functions, and one that tells of its configuration for each way to name it."""
    functions = {name: Function() for name in names}
    for prefix, suffix in {(name.partition("cblas_")[0], "64_" * name.endswith("64_")) for name in names}:
        functions[f"{prefix}openblas_get_config{suffix}"] = Function(config)
    return types.SimpleNamespace(**functions)


@pytest.fixture
def look_up(monkeypatch):
    def look_up(name, dtype, *libraries):
        monkeypatch.setattr(blas, "libraries", lambda: list(libraries))
        return blas.function.__wrapped__(name, np.dtype(dtype))

    return look_up


NARROW_CONFIG, WIDE_CONFIG = b"OpenBLAS 0.3 DYNAMIC_ARCH Haswell", b"OpenBLAS 0.3 USE64BITINT DYNAMIC_ARCH Haswell"


@pytest.mark.parametrize(
    ("config", "name", "whole"),
    [
        (NARROW_CONFIG, "cblas_sgemm", ctypes.c_int32),
        (WIDE_CONFIG, "cblas_sgemm", ctypes.c_int64),
        (NARROW_CONFIG, "scipy_cblas_sgemm", ctypes.c_int32),
        (WIDE_CONFIG, "scipy_cblas_sgemm", ctypes.c_int64),
        (WIDE_CONFIG, "scipy_cblas_sgemm64_", ctypes.c_int64),
        (NARROW_CONFIG, "cblas_sgemm64_", ctypes.c_int64),  # what the name says is sure
    ],
)
def test_integers_are_as_wide_as_the_library_has_them(look_up, config, name, whole):
    lib = library(config, name)
    found = look_up("gemm", "float32", lib)
    assert found is getattr(lib, name) and found.restype is None
    order, of_a, of_b, *sizes, alpha, a, ld_a, b, ld_b, beta, out, ld_out = found.argtypes
    assert [order, of_a, of_b] == [ctypes.c_int] * 3 and [*sizes, ld_a, ld_b, ld_out] == [whole] * 6
    assert [alpha, beta] == [ctypes.c_float] * 2 and [a, b, out] == [ctypes.c_void_p] * 3


@pytest.mark.parametrize(
    ("dtype", "letter", "real"), [("float32", "s", ctypes.c_float), ("float64", "d", ctypes.c_double)]
)
def test_each_dtype_has_functions_of_its_own(look_up, dtype, letter, real):
    lib = library(NARROW_CONFIG, *(f"cblas_{kind}{name}" for kind in "sdcz" for name in ("gemm", "axpby")))
    assert look_up("gemm", dtype, lib) is getattr(lib, f"cblas_{letter}gemm")
    found = look_up("axpby", dtype, lib)
    assert found is getattr(lib, f"cblas_{letter}axpby") and found.restype is None
    whole, array = ctypes.c_int32, ctypes.c_void_p
    assert found.argtypes == [whole, real, array, whole, real, array, whole]


def test_the_first_library_that_has_the_function_is_taken(look_up):
    without, first, second = (library(NARROW_CONFIG, name) for name in ("cblas_dgemm", "cblas_sgemm", "cblas_sgemm"))
    assert look_up("gemm", "float32", without, first, second) is first.cblas_sgemm


def test_a_library_that_does_not_tell_its_configuration_is_left_alone(look_up):
    silent = types.SimpleNamespace(cblas_sgemm=Function())
    other = library(NARROW_CONFIG, "cblas_sgemm")
    assert look_up("gemm", "float32", silent) is None
    assert look_up("gemm", "float32", silent, other) is other.cblas_sgemm


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float16", "int32", "int64", ">f4", ">f8"])
def test_there_is_none_for_what_is_no_real_number_of_this_machine(look_up, dtype):
    lib = library(NARROW_CONFIG, *(f"cblas_{letter}gemm" for letter in "sdcz"))
    assert look_up("gemm", dtype, lib) is None


def test_there_is_none_where_there_is_no_library(look_up):
    assert look_up("gemm", "float32") is None


def test_libraries_are_looked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr(blas, "libraries", lambda: asked.append(1) or [])
    blas.function.cache_clear()
    try:
        for _ in range(3):
            assert blas.function("gemm", np.dtype("float32")) is None
        assert len(asked) == 1
    finally:
        blas.function.cache_clear()


def test_only_libraries_of_openblas_that_can_be_opened_count(monkeypatch):
    infos = [
        {"internal_api": "openblas", "filepath": "gone"},
        {"internal_api": "mkl", "filepath": "mkl"},
        {"internal_api": "openblas", "filepath": "first"},
        {"internal_api": "openmp", "filepath": "openmp"},
        {"internal_api": "openblas", "filepath": "second"},
    ]

    def open_library(path):
        if path == "gone":
            raise OSError("cannot open shared object file")
        return f"the library {path}"

    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: infos)
    monkeypatch.setattr(blas.ctypes, "CDLL", open_library)
    assert blas.libraries() == ["the library first", "the library second"]
    infos.append({"internal_api": "openblas", "filepath": "numpy.libs/own"})
    assert blas.libraries() == ["the library numpy.libs/own", "the library first", "the library second"]
