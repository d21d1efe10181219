"""The prefetcher gives each step its own batch, ahead of time, and checks ids on the host."""

import numpy as np
import pytest

from nanograd import Device
from nanograd.parallel.prefetch import Prefetcher, pinned


def fetch(step):
    ids = np.random.default_rng(step).integers(0, 50, (2, 3))
    return ids, ids + 1


def test_gives_every_step_its_batch(gpu_xp):
    prefetcher = Prefetcher(Device(gpu_xp), fetch, below=51)
    for step in (0, 1, 2, 5, 5, 3):  # a run may go on anywhere
        batch = prefetcher.get(step)
        prefetcher.prefetch(step + 1)
        for ours, expected in zip(batch, fetch(step), strict=True):
            assert ours.dtype == np.int32
            np.testing.assert_array_equal(ours.get(), expected)


def test_fetches_ahead_and_only_once(gpu_xp):
    fetched = []
    prefetcher = Prefetcher(Device(gpu_xp), lambda step: fetched.append(step) or fetch(step), below=51)
    prefetcher.get(0)
    prefetcher.prefetch(1)
    assert fetched == [0, 1]
    prefetcher.prefetch(1)
    prefetcher.get(1)
    assert fetched == [0, 1]


def test_a_copy_waits_for_the_step_that_used_its_place_and_for_no_later_one(gpu_xp, monkeypatch):
    queued, waits, made = [], [], []  # steps; how many of them were queued when an event was made that a copy waits for
    record = gpu_xp.cuda.Stream.record
    monkeypatch.setattr(gpu_xp.cuda.Stream, "record", lambda s: made.append((record(s), len(queued))) or made[-1][0])
    prefetcher = Prefetcher(Device(gpu_xp), fetch, below=51)

    def wait_event(event):
        waits.append(next(after for known, after in reversed(made) if known is event))

    monkeypatch.setattr(prefetcher._stream, "wait_event", wait_event, raising=False)
    for step in range(5):
        prefetcher.get(step)
        queued.append(step)
        prefetcher.prefetch(step + 1)
    assert waits == [0, 1, 1, 2, 3, 4]  # the second place is new, and made when a step has been queued
    prefetcher.get(9)
    assert waits[-1] == 5


def test_takes_batches_of_another_shape(gpu_xp):
    prefetcher = Prefetcher(Device(gpu_xp), lambda step: (np.full((step + 1, 2), step),), below=9)
    for step in (3, 1, 1, 4):
        np.testing.assert_array_equal(prefetcher.get(step)[0].get(), np.full((step + 1, 2), step))


def test_a_batch_stays_until_the_gpu_has_used_it(gpu_xp):
    """With FAKE_CUDA_LAZY=1 the GPU works only when it is waited for."""
    prefetcher, seen = Prefetcher(Device(gpu_xp), fetch, below=51), []
    for step in range(6):
        seen.append([ids + 0 for ids in prefetcher.get(step)])
        prefetcher.prefetch(step + 1)
    np.testing.assert_array_equal([[ids.get() for ids in batch] for batch in seen], [fetch(step) for step in range(6)])


def test_a_copy_that_is_under_way_writes_into_nobody_elses_memory(gpu_xp):
    prefetcher = Prefetcher(Device(gpu_xp), lambda step: (np.full((64, 64), step),), below=9)
    prefetcher.prefetch(5)
    del prefetcher
    others = [gpu_xp.zeros((64, 64), dtype="int32") for _ in range(4)]  # the pool gives them the memory of the batch
    gpu_xp.cuda.Device().synchronize()
    for other in others:
        assert not other.get().any()


def test_pinned_memory_is_as_large_as_the_array():
    asked = []
    cuda = type("cuda", (), {"alloc_pinned_memory": lambda size: asked.append(size) or bytearray(size)})
    array = pinned(cuda, (2, 3))
    assert (array.shape, array.dtype, asked) == ((2, 3), np.int32, [24])


@pytest.mark.parametrize(("bad", "error"), [(51, ValueError), (-1, ValueError), (0.5, TypeError)])
def test_checks_ids_on_the_host(gpu_xp, bad, error):
    prefetcher = Prefetcher(Device(gpu_xp), lambda step: (np.array([[bad]]),), below=51)
    with pytest.raises(error, match=r"token id"):
        prefetcher.get(0)


def test_on_the_cpu_it_only_fetches():
    fetched = []
    prefetcher = Prefetcher(Device("numpy"), lambda step: fetched.append(step) or fetch(step), below=51)
    for step in (3, 4, 7, 4):
        np.testing.assert_array_equal(prefetcher.get(step)[1], fetch(step)[1])
        prefetcher.prefetch(step + 1)
    assert fetched == [3, 4, 5, 7, 8, 4, 5], "ahead of time where the steps follow one another"


def test_a_batch_that_was_taken_is_fetched_again():
    prefetcher = Prefetcher(Device("numpy"), fetch, below=51)
    prefetcher.prefetch(2)
    prefetcher.get(2)[0][...] = 0
    np.testing.assert_array_equal(prefetcher.get(2)[0], fetch(2)[0])
