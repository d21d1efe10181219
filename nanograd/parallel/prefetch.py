"""Batches on their way to the device: the next one travels while the step before it is still at work.

On a GPU a step is only queued when the host is done with it. So the host has time to fetch the next batch, check it,
and start its copy: from pinned memory, which the GPU reads by itself, on a stream of its own, beside the step. Two
places take turns. When a batch is found, all work on the one before it has been queued: an event marks that point,
and the copy into that one's place waits for the event, not for the step that has just been queued. The host waits
only until its pinned memory has been read, two batches ago. On the CPU there is nothing to copy, only the
fetching to be done when others are still at work.
"""

import contextlib
import weakref

import numpy as np

from nanograd.device.device import Device


class Prefetcher:
    """`get(step)` gives the batch that `fetch(step)` gives, on `device`: a tuple of integer arrays.

    `fetch` must depend on the step alone. Every id must be in [0, below): ValueError otherwise, TypeError for
    anything but integers.
    """

    def __init__(self, device: Device, fetch, below: int):
        self.device, self.fetch, self.below = device, fetch, below
        self._places = []
        self._ahead = None, ()  # on the CPU: a step, and its batch
        if device.name != "numpy":
            self._stream = device.xp.cuda.Stream(non_blocking=True)
            self._places = [Place(device.xp), Place(device.xp)]
            self.close = weakref.finalize(self, finish, self._stream)

    def prefetch(self, step: int) -> None:
        """Fetch the batch of `step`, which `get` will ask for, and start copying it; best while a step is computed."""
        if not self._places:
            self._ahead = step, self.fetch(step)
            return
        if any(place.step == step for place in self._places):
            return
        batch = self.fetch(step)
        for ids in batch:
            self.device.check_ids(ids, self.below)
        place = self._places[0]
        place.fill(batch, step, self._stream)
        self._places.reverse()

    def get(self, step: int) -> tuple:
        """The arrays of `step`. On a GPU they are overwritten two batches later."""
        if not self._places:
            (ahead, batch), self._ahead = self._ahead, (None, ())
            return batch if ahead == step else self.fetch(step)
        self.prefetch(step)
        current = self.device.xp.cuda.get_current_stream()
        for place in self._places:
            if place.step == step:
                found = place
            else:
                place.spent = current.record()
        found.step = found.spent = None  # what is asked for again may have been written to: it is copied again
        current.wait_event(found.arrived)
        return found.arrays


def finish(stream) -> None:
    """Wait for the copies under way: afterwards their memory goes back to the pools."""
    with contextlib.suppress(RuntimeError):  # a GPU that failed has said so where it was asked for a result
        stream.synchronize()


class Place:
    """Memory for one batch: pinned on the host, and on the device.

    `step` is the one it holds, or None. Events: the batch has `arrived`, and all work on it is `spent`; None where
    that work may still be queued.
    """

    def __init__(self, xp):
        self.xp, self.step = xp, None
        self.hosts, self.arrays, self.arrived, self.spent = (), (), None, None

    def fill(self, batch, step: int, stream) -> None:
        cuda = self.xp.cuda
        shapes = tuple(ids.shape for ids in batch)
        if self.arrived is not None:
            self.arrived.synchronize()  # the copy of two batches ago has left the host's memory
        if shapes != tuple(host.shape for host in self.hosts):
            self.hosts = tuple(pinned(cuda, shape) for shape in shapes)
            self.arrays = tuple(self.xp.empty(shape, dtype=np.int32) for shape in shapes)
            self.spent = None  # other work may still use the memory until now
        for host, ids in zip(self.hosts, batch, strict=True):
            host[...] = ids
        stream.wait_event(self.spent or cuda.get_current_stream().record())
        for array, host in zip(self.arrays, self.hosts, strict=True):
            array.set(host, stream)
        self.arrived, self.step = stream.record(), step


def pinned(cuda, shape) -> np.ndarray:
    """An int32 array in memory that stays where it is, so that the GPU can copy from it by itself."""
    size = int(np.prod(shape))
    memory = cuda.alloc_pinned_memory(4 * size)
    return np.frombuffer(memory, dtype=np.int32, count=size).reshape(shape)
