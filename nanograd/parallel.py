"""Threads that share one step's work.

NumPy lets go of Python's lock inside its loops and its BLAS, so threads really run side by side. A `Team` runs
one function over several items at once. `DataParallel` gives each thread a replica of the model, which shares the values and owns
its gradients and buffers, and a part of the batch; afterwards the gradients are summed, in a fixed order, over
slices of the flat arenas. Layers know nothing of it.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import ThreadpoolController

from nanograd.arena import arenas_of, replica_of
from nanograd.layer import Layer


def available_cores() -> int:
    """The cores that this process may use: its affinity, and its cgroup's limit where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *_cgroup_limits(), cores))


def _cgroup_limits():
    """Whole cores allowed by cgroup v2 and v1, for as many as can be read."""
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        try:
            with open(path, encoding="ascii") as file:
                quota, *period = file.read().split()
            if not period:
                with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                    period = file.read().split()
            if quota not in ("max", "-1"):
                yield max(1, int(quota) // int(period[0]))
        except (OSError, ValueError):
            continue  # no such cgroup here, which is no limit


class Team:
    """`size` threads, the caller's among them."""

    def __init__(self, size: int):
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1, thread_name_prefix="nanograd") if size > 1 else None

    def map(self, function, items) -> list:
        """[function(item) for item in items], side by side. The first exception is raised when all are done."""
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        futures = [self._pool.submit(function, item) for item in items[1:]]
        try:
            first = function(items[0])
        finally:
            errors = [future.exception() for future in futures]
        for error in filter(None, errors):
            raise error
        return [first, *(future.result() for future in futures)]

    def slices(self, n: int) -> list[slice]:
        """range(n) in `size` contiguous parts of nearly equal length, none empty."""
        edges = [n * i // self.size for i in range(self.size + 1)]
        return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


SERIAL = Team(1)


class DataParallel:
    """Forward and backward over a batch that is split among `team`'s threads and into chunks.

    A chunk is a number of samples whose activations fit into a core's cache: one that does not fit goes back
    and forth to memory between any two operations.
    """

    def __init__(self, model: Layer, team: Team, chunk: int):
        self.model, self.team, self.chunk = model, team, chunk
        self.replicas = [model, *(replica_of(model) for _ in range(team.size - 1))]

    def forward_backward(self, idx, targets, count: int, step: int = 0, first: int = 0) -> float:
        """Add the gradients of this batch's share in a mean over `count` positions; returns its share of the loss.

        idx, targets: (B, T) ids on the host. `step`, `first`: which step, and which global sample the batch begins
        with, to key the dropout masks. Gradients are complete after `reduce`.
        """

        def work(replica, part: slice) -> float:
            loss = 0.0
            for start in range(part.start, part.stop, self.chunk):
                rows = slice(start, min(start + self.chunk, part.stop))
                replica.noise.begin(step, first + start)
                _, share = replica(idx[rows], targets[rows], count)
                replica.backward()
                loss += float(share)
            return loss

        parts = zip(self.replicas, self.team.slices(len(idx)), strict=False)
        return sum(self.team.map(lambda pair: work(*pair), parts))

    def reduce(self) -> None:
        """Add the replicas' gradients to the model's, in the order of the replicas, by slices of the arenas."""
        if len(self.replicas) == 1:
            return
        for arenas in zip(*(arenas_of(replica) for replica in self.replicas), strict=True):
            total, *others = (arena.grads for arena in arenas)

            def add(part, total=total, others=others):
                for other in others:
                    total[part] += other[part]

            self.team.map(add, self.team.slices(total.size))

    def zero_grad(self) -> None:
        for replica in self.replicas:
            replica.zero_grad()
