"""Memory in large pages: arrays like any other, apart from one another, and given back."""

import errno
import gc
import mmap
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from nanograd.device import huge_pages
from nanograd.device.huge_pages import BLOCK, LEAST, LINE, PAGE
from nanograd.layers.layer import Layer
from nanograd.parallel.processes import CAN_FORK, WorkerProcess

linux_only = pytest.mark.skipif(not huge_pages.HAS_PAGES, reason="large pages are asked for on Linux")


@pytest.fixture(autouse=True)
def own_block():
    huge_pages.begin_anew()
    yield
    huge_pages.begin_anew()


@pytest.fixture
def blocks(monkeypatch):
    """Weak references to the memory that the system is asked for."""
    asked, ask = [], huge_pages.anonymous_memory

    def note(n_bytes, **settings):
        memory = ask(n_bytes, **settings)
        asked.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(huge_pages, "anonymous_memory", note)
    return asked


def address(array) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 5001, BLOCK // 4 + 3])
def test_an_array_like_any_other(size, dtype):
    array = huge_pages.empty(size, dtype)
    assert array.shape == (size,) and array.dtype == dtype and array.flags.writeable and array.flags.c_contiguous
    numbers = np.arange(size).astype(dtype)
    array[...] = numbers
    np.testing.assert_array_equal(array, numbers)


@linux_only
def test_arrays_lie_one_behind_the_other_from_the_beginning_of_a_page(blocks):
    first, second, third = (huge_pages.empty(n, np.float32) for n in (1025, 1024, 2048))
    assert address(first) % PAGE == 0
    assert address(second) == address(first) + 1040 * 4, "the next line after 1025 numbers"
    assert address(third) == address(second) + 1024 * 4
    assert len(blocks) == 1


@linux_only
@pytest.mark.skipif(mmap.PAGESIZE != LEAST, reason="where usual pages have more, so have large ones")
def test_a_page_is_as_large_as_the_system_s():
    size = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    if not size.exists():
        pytest.skip("a system without large pages")
    assert int(size.read_text(encoding="ascii")) == PAGE


@linux_only
@pytest.mark.parametrize("shift", [0, LEAST, PAGE - LEAST])
def test_a_block_begins_at_a_page_wherever_its_memory_begins(monkeypatch, shift):
    ask, whole = huge_pages.anonymous_memory, np.frombuffer

    def part(memory, dtype):
        array = whole(memory, dtype=dtype)
        start = (shift - address(array)) % PAGE
        return array[start : start + 4 * PAGE]

    monkeypatch.setattr(huge_pages, "anonymous_memory", lambda n_bytes, **settings: ask(n_bytes + PAGE, **settings))
    monkeypatch.setattr(huge_pages.np, "frombuffer", part)
    block = huge_pages.new_block(3 * PAGE)
    assert address(block) % PAGE == 0 and block.shape == (3 * PAGE,)


@pytest.mark.slow
@linux_only
def test_no_array_lies_in_another_s_memory(blocks):
    sizes = np.random.default_rng(0).integers(0, BLOCK // 16, 40)
    arrays = [huge_pages.empty(n, np.float64) for n in sizes]
    for i, array in enumerate(arrays):
        array[...] = i
    for i, array in enumerate(arrays):
        assert (array == i).all() and (array.nbytes < LEAST or address(array) % LINE == 0)
    assert len(blocks) > 3


@linux_only
@pytest.mark.parametrize(("n_bytes", "n_blocks"), [(LEAST - 1, 0), (LEAST, 1), (BLOCK // 2, 1), (BLOCK // 2 + 1, 2)])
def test_who_takes_from_the_block_that_is_open(blocks, n_bytes, n_blocks):
    array = huge_pages.empty(n_bytes, np.uint8)
    assert len(blocks) == min(n_blocks, 1)
    other = huge_pages.empty(BLOCK // 2 - LEAST, np.uint8)
    assert len(blocks) == max(n_blocks, 1)
    array[...], other[...] = 1, 2
    assert (array == 1).all() and (other == 2).all()


@linux_only
def test_a_block_is_filled_to_the_end(blocks):
    for _ in range(2):
        huge_pages.empty(BLOCK // 2, np.uint8)
    assert len(blocks) == 1
    huge_pages.empty(LEAST, np.uint8)
    assert len(blocks) == 2


@pytest.mark.slow
@linux_only
def test_a_block_goes_when_its_last_array_does(blocks):
    first, second = huge_pages.empty(BLOCK // 2, np.uint8), huge_pages.empty(BLOCK // 4, np.uint8)
    huge_pages.empty(BLOCK // 2, np.uint8)  # which the block has no room for
    large = huge_pages.empty(BLOCK, np.float32)
    gc.collect()
    assert [bool(block()) for block in blocks] == [True, True, True]
    del first, large
    gc.collect()
    assert [bool(block()) for block in blocks] == [True, True, False]
    view = second[10:20]
    del second
    gc.collect()
    assert blocks[0]() is not None, "a view needs it"
    del view
    gc.collect()
    assert blocks[0]() is None


@linux_only
def test_every_thread_cuts_from_a_block_of_its_own(blocks):
    found = []
    threads = [threading.Thread(target=lambda: found.append(huge_pages.empty(LEAST, np.uint8))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blocks) == 3 and len({address(array) for array in found}) == 3
    assert all(address(array) % PAGE == 0 for array in found)


def cut_and_write(ours):
    ours[...] = 7
    return address(huge_pages.empty(LEAST, np.uint8)), int(ours.sum())


@linux_only
@pytest.mark.skipif(not CAN_FORK, reason="processes are forked on Linux")
def test_a_forked_process_cuts_from_a_block_of_its_own():
    ours = huge_pages.empty(LEAST, np.uint8)
    ours[...] = 0
    worker = WorkerProcess(ours)
    worker.submit(cut_and_write)
    theirs, total = worker.result()
    worker.end()
    assert theirs % PAGE == 0, "else it goes on where this process is"
    assert total == 7 * LEAST and not ours.any(), "what it writes to is a copy"


@linux_only
def test_large_pages_are_asked_for(monkeypatch):
    asked = []

    class Memory(mmap.mmap):
        def madvise(self, *arguments):
            asked.append(arguments)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # built without them, and nothing is wrong

    monkeypatch.setattr(huge_pages.mmap, "mmap", Memory)
    array = huge_pages.empty(LEAST, np.uint8)
    array[...] = 1
    assert asked == [(mmap.MADV_HUGEPAGE,)] and array.all()


def test_elsewhere_numpy_allocates(monkeypatch):
    monkeypatch.setattr(huge_pages, "HAS_PAGES", False)
    monkeypatch.setattr(huge_pages, "new_block", None)
    array = huge_pages.empty(LEAST, np.float64)
    assert array.shape == (LEAST,) and array.base is None


@linux_only
def test_the_buffers_of_a_layer_are_in_large_pages(blocks):
    layer, like = Layer(), np.empty((64, 32), np.float32)
    for array in (layer.buffer("y", like=like), layer.scratch("dx", like=like)):
        assert array.shape == like.shape and array.dtype == like.dtype
    assert len(blocks) == 1
    del array
    layer.drop_buffers()
    huge_pages.begin_anew()
    gc.collect()
    assert blocks[0]() is None


@pytest.mark.parametrize(("number", "error"), [(errno.ENOMEM, MemoryError), (errno.EPERM, PermissionError)])
def test_what_the_system_does_not_have_is_a_lack_of_memory(monkeypatch, number, error):
    def fail(*arguments, **settings):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(huge_pages.mmap, "mmap", fail)
    with pytest.raises(error, match="80,000 bytes" if error is MemoryError else None):
        huge_pages.anonymous_memory(80_000)
