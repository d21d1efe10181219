"""How kernels are launched: what they are given, in which sizes, and what they are not given."""

import types

import numpy as np
import pytest
import strict_xp

from nanograd.kernels import launching
from nanograd.kernels.launching import MOST_BLOCKS, _argument, c_type, elementwise, kernel, launch, vector_width

F32 = strict_xp.zeros(64, dtype="float32")  # strict_xp's arrays begin at multiples of 16 bytes


@pytest.mark.parametrize(
    ("arrays", "length", "width"),
    [
        ([F32], 64, 4),
        ([F32], 6, 1),
        ([F32[1:]], 60, 1),
        ([F32, F32[1:]], 60, 1),
        ([F32, F32[4:]], 60, 4),
        ([strict_xp.zeros(6, dtype="float64")], 6, 2),
        ([strict_xp.zeros(6, dtype="float64")], 3, 1),
    ],
)
def test_as_many_elements_at_once_as_rows_and_addresses_allow(arrays, length, width):
    assert vector_width(*arrays, length=length) == width


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(3, np.int64), (-1, np.int64), (2**63 - 1, np.int64), (2**63, np.uint64), (None, np.uint64), (0.5, np.float64)],
)
def test_numbers_are_as_wide_as_the_kernels_take_them(value, dtype):
    argument = _argument(value)
    assert type(argument) is dtype and argument == (value or 0)
    assert _argument(F32) is F32


def test_a_dtype_without_kernels():
    with pytest.raises(TypeError, match="no kernels for int16"):
        c_type(strict_xp.zeros(1, dtype="int16"))


def test_arrays_with_gaps_are_refused_unless_the_kernel_takes_strides():
    with pytest.raises(ValueError, match="an array it was given has gaps"):
        launch("elementwise", "add<float, 1>", (1,), 256, F32[::2], like=F32)


class Launches:
    """What plays the GPU: it keeps what it is asked to run."""

    def __init__(self, monkeypatch):
        self.asked = []
        monkeypatch.setattr(launching, "kernel", lambda xp, device, family, name, shared: self.note(name))

    def note(self, name):
        return lambda grid, block, arguments, shared_mem: self.asked.append((name, grid, block, arguments, shared_mem))


def array(size: int, dtype="float32"):
    """An array of that many elements, without them."""
    return types.SimpleNamespace(
        size=size,
        dtype=np.dtype(dtype),
        data=types.SimpleNamespace(ptr=0),
        strides=(4,),
        flags=types.SimpleNamespace(c_contiguous=True),
        device=types.SimpleNamespace(id=0),
    )


@pytest.mark.parametrize(
    ("size", "blocks", "width"),
    [
        *[(4, 1, 4), (1024, 1, 4), (1028, 2, 4), (3, 1, 1), (257, 2, 1)],
        *[(1024 * MOST_BLOCKS, MOST_BLOCKS, 4), (1024 * MOST_BLOCKS + 4, MOST_BLOCKS, 4)],
    ],
)
def test_an_elementwise_kernel_has_a_thread_for_each_vector_up_to_a_limit(monkeypatch, size, blocks, width):
    monkeypatch.setattr(launching, "xp_of", lambda array: strict_xp)
    launches, x, row = Launches(monkeypatch), array(size), array(7, "float64")
    elementwise("add_row", x, row, 5, 0.5, like=x)
    ((name, grid, block, arguments, shared),) = launches.asked
    assert (name, grid, block, shared) == (f"add_row<float, {width}>", (blocks,), (256,), 0)
    assert arguments == (x, row, size, 5, 0.5) and type(arguments[2]) is np.int64
    elementwise("add_row", array(0), like=array(0))
    assert len(launches.asked) == 1, "nothing to do"


def test_a_kernel_is_allowed_more_shared_memory_only_where_it_needs_it(monkeypatch):
    made = []

    def module(xp, family, names):
        made.append((family, names))
        return types.SimpleNamespace(get_function=lambda name: types.SimpleNamespace(name=name))

    monkeypatch.setattr(launching, "module", module)
    for shared, allowed in ((0, False), (48 * 1024, False), (48 * 1024 + 1, True)):
        function = kernel.__wrapped__(strict_xp, 0, "attention", "attention<float, 16, 64>", shared)
        assert getattr(function, "max_dynamic_shared_size_bytes", None) == (shared if allowed else None)
    assert made == [("attention", ("attention<float, 16, 64>",))] * 3, "one by one"
    kernel.__wrapped__(strict_xp, 0, "adamw", "adamw<double>", 0)
    assert made[-1] == ("adamw", ("adamw<double>",))
