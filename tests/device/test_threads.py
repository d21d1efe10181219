"""Threads that share work: in order, side by side, and in slices that cover everything."""

import threading
from itertools import pairwise

import pytest

from nanograd.device.threads import SERIAL, ThreadPool


def test_a_pool_maps_in_order_and_side_by_side():
    pool = ThreadPool(3)
    meeting = threading.Barrier(3, timeout=30)

    def work(i):
        meeting.wait()
        return i * i

    assert pool.map(work, range(3)) == [0, 1, 4]
    assert ThreadPool(1).map(lambda i: i + 1, range(4)) == [1, 2, 3, 4]
    assert pool.map(lambda i: -i, []) == []


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_any_thread_is_raised(bad):
    def work(i):
        if i == bad:
            raise ArithmeticError(f"item {i}")
        return i

    with pytest.raises(ArithmeticError, match=f"item {bad}"):
        ThreadPool(3).map(work, range(3))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 6, 7, 100])
def test_slices_cover_everything_once_and_nearly_equally(size, n):
    slices = ThreadPool(size).slices(n)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(n))
    lengths = [part.stop - part.start for part in slices]
    assert len(slices) == min(size, n) and (not n or (max(lengths) - min(lengths) <= 1 and min(lengths) > 0))


def test_slices_are_not_too_short():
    for least, count in ((0, 3), (1, 3), (10, 3), (33, 3), (34, 2), (50, 2), (51, 1), (1000, 1)):
        slices = ThreadPool(3).slices(100, least)
        assert len(slices) == count and slices[0].start == 0 and slices[-1].stop == 100
        assert all(a.stop == b.start for a, b in pairwise(slices))
    assert ThreadPool(3).slices(0, 5) == []


def test_two_work_side_by_side():
    meeting = threading.Barrier(2, timeout=30)
    assert ThreadPool(2).map(lambda i: meeting.wait() >= 0, range(2)) == [True, True]


def test_the_serial_pool_is_the_caller_alone():
    assert SERIAL.size == 1
    assert SERIAL.map(lambda _: threading.current_thread(), range(2)) == [threading.current_thread()] * 2
