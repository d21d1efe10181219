"""Batches on their way to the device: the next one travels while the step before it is still at work.

On a GPU a step is only queued when the host is done with it. So the host has time to fetch the next batch, check it,
and start its copy: from pinned memory, which the GPU reads by itself, on a stream of its own, beside the step. Two
places take turns. A place is written to again only when its last copy has left the host's memory and the step that
used it has been computed; the GPU waits for that by itself, in order. On the CPU there is nothing to copy.
"""

import numpy as np

from nanograd.backend import Device


class Feeder:
    """`take(step)` gives the batch that `fetch(step)` gives, on `device`: a tuple of integer arrays.

    `fetch` must depend on the step alone. Every id must be in [0, below): ValueError otherwise, TypeError for
    anything but integers.
    """

    def __init__(self, device: Device, fetch, below: int):
        self.device, self.fetch, self.below = device, fetch, below
        self._places = []
        if device.name != "numpy":
            self._stream = device.xp.cuda.Stream(non_blocking=True)
            self._places = [Place(device.xp), Place(device.xp)]

    def prepare(self, step: int) -> None:
        """Start copying the batch of `step`, which `take` will ask for; best called when a step has been queued."""
        if not self._places or any(place.step == step for place in self._places):
            return
        batch = self.fetch(step)
        for ids in batch:
            self.device.check_ids(ids, self.below)
        place = self._places[0]
        place.fill(batch, step, self._stream)
        self._places.reverse()

    def take(self, step: int) -> tuple:
        """The arrays of `step`. On a GPU they are lent until two batches later."""
        if not self._places:
            return self.fetch(step)
        self.prepare(step)
        place = next(place for place in self._places if place.step == step)
        place.step = None  # what is asked for again may have been written to: it is copied again
        self.device.xp.cuda.get_current_stream().wait_event(place.arrived)
        return place.arrays


class Place:
    """Memory for one batch: pinned on the host, and on the device. `step` is the one it holds, or None."""

    def __init__(self, xp):
        self.xp, self.step = xp, None
        self.hosts, self.arrays, self.arrived = (), (), None

    def fill(self, batch, step: int, stream) -> None:
        cuda = self.xp.cuda
        shapes = tuple(ids.shape for ids in batch)
        if shapes != tuple(host.shape for host in self.hosts):
            self.hosts = tuple(pinned(cuda, shape) for shape in shapes)
            self.arrays = tuple(self.xp.empty(shape, dtype=np.int32) for shape in shapes)
        else:
            self.arrived.synchronize()  # the copy of two batches ago has left the host's memory
        for host, ids in zip(self.hosts, batch, strict=True):
            host[...] = ids
        stream.wait_event(cuda.get_current_stream().record())  # the steps queued so far may still read this place
        for array, host in zip(self.arrays, self.hosts, strict=True):
            array.set(host, stream)
        self.arrived, self.step = stream.record(), step


def pinned(cuda, shape) -> np.ndarray:
    """An int32 array in memory that stays where it is, so that the GPU can copy from it by itself."""
    size = int(np.prod(shape))
    memory = cuda.alloc_pinned_memory(4 * size)
    return np.frombuffer(memory, dtype=np.int32, count=size).reshape(shape)
