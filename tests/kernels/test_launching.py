"""How kernels are launched: what they are given, in which sizes, and what they are not given."""

import types

import numpy as np
import pytest

from nanograd import kernels
from nanograd.device.parameter import Parameter
from nanograd.device.partial_sums import PartialSums, Parts
from nanograd.device.rng import RNG
from nanograd.kernels import launching
from nanograd.kernels.launching import MOST_BLOCKS, _argument, c_type, elementwise, kernel, launch, vector_width
from nanograd.layers.activations import GELU
from tests.support.gpu import array_stub
from tests.support.gpu.launches import Launches, array, launched, zeros

F32 = array_stub.zeros(64, dtype="float32")  # array_stub's arrays begin at multiples of 16 bytes


@pytest.mark.parametrize(
    ("arrays", "length", "width"),
    [
        ([F32], 64, 4),
        ([F32], 6, 1),
        ([F32[1:]], 60, 1),
        ([F32, F32[1:]], 60, 1),
        ([F32, F32[4:]], 60, 4),
        ([array_stub.zeros(6, dtype="float64")], 6, 2),
        ([array_stub.zeros(6, dtype="float64")], 3, 1),
    ],
)
def test_as_many_elements_at_once_as_rows_and_addresses_allow(arrays, length, width):
    assert vector_width(*arrays, length=length) == width


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(3, np.int64), (-1, np.int64), (2**63 - 1, np.int64), (2**63, np.uint64), (None, np.uint64), (0.5, np.float64)],
)
def test_numbers_are_as_wide_as_the_kernels_take_them(value, dtype):
    argument = _argument(value, "add", False)
    assert type(argument) is dtype and argument == (value or 0)
    assert _argument(F32, "add", False) is F32 and _argument(F32[::2], "add", True).shape == (32,)


def test_a_dtype_without_kernels():
    with pytest.raises(TypeError, match="no kernels for int16"):
        c_type(array_stub.zeros(1, dtype="int16"))


def test_arrays_with_gaps_are_refused_unless_the_kernel_takes_strides(monkeypatch):
    monkeypatch.setattr(launching, "kernel", lambda *which: None)
    with pytest.raises(ValueError, match="an array it was given has gaps"):
        launch("elementwise", "add<float, 1>", (1,), 256, F32[::2], like=F32)


@pytest.mark.parametrize(
    ("size", "blocks", "width"),
    [
        *[(4, 1, 4), (1024, 1, 4), (1028, 2, 4), (3, 1, 1), (257, 2, 1)],
        *[(1024 * MOST_BLOCKS, MOST_BLOCKS, 4), (1024 * MOST_BLOCKS + 4, MOST_BLOCKS, 4)],
    ],
)
def test_an_elementwise_kernel_has_a_thread_for_each_vector_up_to_a_limit(monkeypatch, size, blocks, width):
    monkeypatch.setattr(launching, "xp_of", lambda array: array_stub)
    launches, x, row = Launches(monkeypatch), array(size), array(7, "float64")
    elementwise("add_row", x, None, row, 5, like=x)
    ((name, grid, block, arguments, shared),) = launches.asked
    assert (name, grid, block, shared) == (f"add_row<float, {width}>", (blocks,), (256,), 0)
    assert arguments == (x, 0, row, size, 5) and type(arguments[3]) is np.int64
    elementwise("add_row", array(0), like=array(0))
    assert len(launches.asked) == 1, "nothing to do"


def test_a_kernel_is_allowed_more_shared_memory_only_where_it_needs_it(monkeypatch):
    made = []

    def module(xp, family, names):
        made.append((family, names))
        return types.SimpleNamespace(get_function=lambda name: types.SimpleNamespace(name=name))

    monkeypatch.setattr(launching, "module", module)
    for shared, allowed in ((0, False), (40 * 1024, False), (40 * 1024 + 1, True)):
        function = kernel.__wrapped__(array_stub, 0, "attention", "attention<float, 16, 64>", shared)
        assert getattr(function, "max_dynamic_shared_size_bytes", None) == (shared if allowed else None)
    assert made == [("attention", ("attention<float, 16, 64>",))] * 3, "one by one"
    kernel.__wrapped__(array_stub, 0, "adamw", "adamw<double>", 0)
    assert made[-1] == ("adamw", ("adamw<double>",))


# Which kernels each function launches, in which grid: a thread, warp or block for each thing to do, and none without


@pytest.mark.parametrize(("rows", "blocks"), [(8, 1), (9, 2), (17, 3)])
def test_layernorm_takes_eight_rows_a_block(monkeypatch, rows, blocks):
    x, row = zeros(rows, 4), zeros(4)
    forward = launched(monkeypatch, kernels.normalize, x, row, row, 1e-5, x, x)
    assert forward == [("layernorm: normalize<float, 4>", (blocks,), 256, [rows, 4])]
    backward, *_ = launched(monkeypatch, kernels.normalize_backward, x, row, x, zeros(rows, 1), x, None, None, row, row)
    assert backward == ("layernorm: normalize_backward<float, 4>", (blocks,), 256, [rows, 4])


@pytest.mark.parametrize(
    ("rows", "columns", "width", "grid", "slab"),
    [
        *[
            (64, 32, 4, (1, 1), 64),
            (1, 1, 1, (1, 1), 1),
            (3, 33, 1, (2, 1), 3),
            (3, 132, 4, (2, 1), 3),
            (3, 128, 4, (1, 1), 3),
        ],
        *[(1024, 1, 1, (1, 1), 1024), (1025, 1, 1, (1, 17), 64)],
        *[(1024 * 65, 1, 1, (1, 1024), 65), (1024 * 33, 33, 1, (2, 512), 66)],
    ],
)
def test_sums_over_positions_are_split_into_slabs(monkeypatch, rows, columns, width, grid, slab):
    first, *rest = launched(monkeypatch, kernels.add_positions, zeros(rows, columns), zeros(columns))
    alone = int(grid[1] == 1)
    sizes = [rows, columns, slab, 0 if alone else columns, alone, alone]
    assert first == (f"reductions: column_parts<float, {width}>", grid, 256, sizes)
    blocks = -(-columns // 32)
    assert rest == [("reductions: add_parts<float>", (blocks,), 256, [grid[1], columns, columns, 1])] * (not alone)


def test_both_sums_of_a_layernorm_are_taken_together(monkeypatch):
    x, row = zeros(2048, 33), zeros(33)
    _, *sums = launched(monkeypatch, kernels.normalize_backward, x, row, x, zeros(2048, 1), x, None, None, row, row)
    assert sums == [
        ("reductions: column_parts<float, 1>", (2, 32), 256, [2048, 33, 64, 33, 0, 0]),
        *[("reductions: add_parts<float>", (2,), 256, [32, 33, 33, 1])] * 2,
    ]


@pytest.mark.parametrize(("rows", "slabs", "slab"), [(64, 1, 64), (65, 2, 33), (16384, 256, 64), (20000, 256, 79)])
def test_sums_of_parameters_in_an_arena_wait_for_each_other(monkeypatch, rows, slabs, slab):
    weight, bias = (Parameter(zeros(40)) for _ in range(2))
    sums = PartialSums(zeros(80))
    parts = [Parts(sums, p, slice(start, start + 40)) for p, start in ((weight, 0), (bias, 40))]
    x, name, grid = zeros(rows, 40), "reductions: column_parts<float, 4>", (1, slabs)
    for add in (0, 1):
        asked = launched(monkeypatch, kernels.add_positions, x, parts[1])
        assert asked == [(name, grid, 256, [rows, 40, slab, 80, add, 0])]
    arguments = x, zeros(40), x, zeros(rows, 1), x, None, None, *parts
    assert launched(monkeypatch, kernels.normalize_backward, *arguments) == [
        ("layernorm: normalize_backward_sums<float, 4>", grid, 256, [rows, 40, slab, 80, 1, 0])
    ]
    assert launched(monkeypatch, lambda: sums.add_up()) == [
        ("reductions: add_parts<float>", (3,), 256, [slabs, 80, 80, 0])
    ]
    assert launched(monkeypatch, lambda: sums.add_up()) == []


@pytest.mark.parametrize(("columns", "together"), [(512, True), (513, False), (516, False), (128, True), (129, False)])
def test_sums_of_rows_that_a_warp_can_hold_are_taken_on_the_way(monkeypatch, columns, together):
    weight, x = Parameter(zeros(columns)), zeros(3, columns)
    parts = Parts(PartialSums(zeros(columns)), weight, slice(0, columns))
    arguments = x, zeros(columns), x, zeros(3, 1), x, None, None, parts, None
    names = [name for name, *_ in launched(monkeypatch, kernels.normalize_backward, *arguments)]
    width = 1 if columns % 4 else 4
    apart = [f"layernorm: normalize_backward<float, {width}>", f"reductions: column_parts<float, {width}>"]
    assert names == ([f"layernorm: normalize_backward_sums<float, {width}>"] if together else apart)


@pytest.mark.parametrize(
    ("rows", "bias", "grid", "sizes"),
    [
        (64, True, (2, 1), [64, 160, 64, 0, 1]),
        (64, False, (2, 8), [64, 160, 8, 0, 1]),
        (2048, True, (2, 32), [2048, 160, 64, 160, 0]),
    ],
)
def test_gelu_and_the_gradient_of_its_bias_are_one_launch(monkeypatch, rows, bias, grid, sizes):
    layer, dy = GELU(), zeros(rows, 160)
    layer.remember(zeros(rows, 160), None)
    first, *_ = launched(monkeypatch, kernels.gelu_backward, layer, dy, True, zeros(160) if bias else None)
    assert first == ("gelu: gelu_backward<float, 4>", grid, 256, sizes)


@pytest.mark.parametrize(("rows", "blocks"), [(8, 1), (9, 2)])
def test_dot_products_take_a_warp_each(monkeypatch, rows, blocks):
    asked = launched(monkeypatch, kernels.dot_channels, zeros(rows, 5), zeros(rows, 5))
    assert asked == [("reductions: row_dots<float>", (blocks,), 256, [rows, 5])]


@pytest.mark.parametrize(("size", "blocks"), [(256, 1), (257, 2), (256 * 1024, 1024), (256 * 1024 + 1, 1024)])
def test_squares_are_summed_by_so_many_blocks_and_then_by_one(monkeypatch, size, blocks):
    assert launched(monkeypatch, kernels.square_sum, zeros(size)) == [
        ("reductions: square_parts<float>", (blocks,), 256, [size]),
        ("reductions: total<float>", (1,), 256, [blocks]),
    ]


def test_softmax_takes_a_block_a_row(monkeypatch):
    scores = zeros(2, 3, 4, 5)
    asked = launched(monkeypatch, kernels.masked_exp, scores)
    assert asked == [("softmax: masked_exp<float>", (24,), 128, [4, 5])]


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (2, 2), (4096, 4096), (4097, 4096)])
def test_softmax_goes_back_by_so_many_blocks(monkeypatch, rows, blocks):
    scores = zeros(rows, 256)
    asked = launched(monkeypatch, kernels.masked_exp_backward, scores, scores, scores, None)
    assert asked == [("softmax: masked_exp_backward<float>", (blocks,), 256, [rows * 256, 256])]


@pytest.mark.parametrize(("size", "width", "threads"), [(8188, 4, 128), (8191, 1, 128), (8192, 4, 1024)])
def test_a_loss_takes_a_block_a_row_and_a_large_one_for_a_large_vocabulary(monkeypatch, size, width, threads):
    e, z, targets = zeros(3, size), zeros(3, 1), zeros(3, dtype="int32")
    for function, arguments in (
        (kernels.cross_entropy, (e, targets, e)),
        (kernels.cross_entropy_backward, (e, z, targets, 1.0)),
    ):
        asked = launched(monkeypatch, function, *arguments)
        assert asked == [(f"losses: {function.__name__}<float, {width}>", (3,), threads, [size])]


@pytest.mark.parametrize(("columns", "blocks"), [(31, 1), (33, 2), (128, 1), (132, 2)])
def test_an_embedding_takes_a_block_an_id(monkeypatch, columns, blocks):
    table, ids, y = zeros(9, columns), zeros(5, dtype="int32"), zeros(5, columns)
    gathered = launched(monkeypatch, kernels.gather_rows, table, ids, y)
    assert gathered == [("embedding: gather_rows<float>", (5,), 128, [columns])]
    assert launched(monkeypatch, kernels.gather_rows, table, ids[:0], y[:0]) == []
    assert launched(monkeypatch, kernels.scatter_add_rows, table, ids, y) == [
        ("embedding: sort_ids<float>", (1,), 128, [5]),
        (f"embedding: add_runs<float, {4 if columns % 4 == 0 else 1}>", (5, blocks), 256, [5, columns]),
    ]
    atomic = launched(monkeypatch, kernels.scatter_add_rows, table, ids, y, True)
    assert atomic == [("embedding: add_atomically<float>", (5,), 128, [columns])]


@pytest.mark.parametrize(
    ("shape", "before", "blocks", "grid"),
    [
        *[
            ((2, 9), 0, 1, 1),
            ((2, 16), 0, 1, 1),
            ((2, 17), 0, 2, 1),
            ((2, 9), 2, 2, 1),
            ((2, 9), 1, 1, 1),
            ((2, 9), 4, 1, 1),
        ],
        *[((256, 1), 0, 1, 1), ((257, 1), 0, 1, 2), ((4097 * 256, 1), 0, 1, 4096)],
    ],
)
def test_dropout_takes_a_thread_for_four_words_of_a_stream(monkeypatch, shape, before, blocks, grid):
    rng = RNG(3)
    rng.begin_step(5, first=7)
    rng.reserve(4 * before)
    ((name, *found),) = launched(monkeypatch, kernels.draw_mask, zeros(*shape), rng, 0.25)
    size = shape[1]
    assert name == "dropout: drop<float>"
    assert found == [(grid,), 256, [shape[0], size, blocks, 3, 5, 7, before, 49152]]


@pytest.mark.parametrize(("size", "blocks"), [(256, 1), (257, 2), (256 * 4096 + 1, 4096)])
def test_adamw_takes_a_thread_an_element_up_to_a_limit(monkeypatch, size, blocks):
    p = zeros(size)
    asked = launched(monkeypatch, kernels.adamw_update, p, p, p, p, 0.1, 0.9, 0.95, 1e-8, 0.0, 0.1, 0.05, 1.0)
    assert asked == [("adamw: adamw<float>", (blocks,), 256, [size])]


def test_sums_are_in_float32_at_least():
    assert [kernels.wide(zeros(1, dtype=dtype)) for dtype in ("float32", "float64")] == ["float32", "float64"]
    ids = kernels.ids_of(array_stub.asarray(np.arange(6).reshape(2, 3)))
    assert ids.dtype == np.int32 and ids.shape == (6,)


# Attention: the tensor cores where they can, else the largest tiles that fit into shared memory


def queries(T: int, heads: int, beside: int, D: int):
    """The first heads of an array (2, T, heads + beside, D)."""
    return zeros(2, T, (heads + beside) * D).reshape(2, T, heads + beside, D)[:, :, :heads]


@pytest.mark.parametrize(("D", "beside", "width"), [(8, 2, 4), (6, 2, 1), (6, 0, 1), (4, 1, 4)])
def test_rows_in_a_wider_array_are_normalised_where_they_are(monkeypatch, D, beside, width):
    x, xhat, weight, rstd = queries(5, 3, beside, D), zeros(2, 5, 3, D), zeros(D), zeros(2, 5, 3, 1)
    step = (3 + beside) * D
    ((name, *found),) = launched(monkeypatch, kernels.rms_normalize, x, weight, 1e-5, xhat, x)
    assert (name, found) == (f"rmsnorm: rms_normalize<float, {width}>", [(4,), 256, [30, D, 3, step, step]])
    *_, (name, grid, threads, sizes) = launched(
        *(monkeypatch, kernels.rms_normalize_backward, x, None, xhat, rstd, xhat, None, None, None)
    )
    assert (name, grid, threads) == (f"rmsnorm: rms_normalize_backward<float, {width}>", (4,), 256)
    assert sizes == [30, D, 3, step, 3 * D]


def test_rows_of_channels_are_one_head(monkeypatch):
    x, weight = zeros(2, 5, 8), zeros(8)
    ((_, grid, _, sizes),) = launched(monkeypatch, kernels.rms_normalize, x, weight, 1e-5, x, x)
    assert (grid, sizes) == ((2,), [10, 8, 1, 8, 8])


@pytest.mark.parametrize(("heads", "blocks"), [(8, 1), (9, 2)])
def test_a_rotation_takes_a_thread_a_pair(monkeypatch, heads, blocks):
    x, table = queries(2, heads, 1, 16), zeros(2, 1, 16)
    asked = launched(monkeypatch, kernels.rotate, x, table, table, "half", False, x, None)
    step = (heads + 1) * 16
    assert asked == [("rope: rotate<float>", (blocks,), 256, [32 * heads, 2, heads, 8, 0, step, step])]


@pytest.mark.parametrize(("n", "blocks"), [(128, 1), (129, 2)])
def test_ids_are_sorted_by_a_thread_each(monkeypatch, n, blocks):
    table, ids, dy = zeros(9, 4), zeros(n, dtype="int32"), zeros(n, 4)
    first, _ = launched(monkeypatch, kernels.scatter_add_rows, table, ids, dy)
    assert first == ("embedding: sort_ids<float>", (blocks,), 128, [n])


def test_gelu_goes_back_over_dy_only_inplace(monkeypatch):
    monkeypatch.setattr(kernels.sums, "launch", lambda *arguments, like: None)
    layer, dy = GELU(), zeros(2, 4)
    for inplace in (False, True):
        layer.remember(zeros(2, 4), None)
        dx = kernels.gelu_backward(layer, dy, True) if inplace else kernels.gelu_backward(layer, dy)
        assert (dx is dy) is inplace
