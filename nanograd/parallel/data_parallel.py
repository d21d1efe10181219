"""Threads and processes that share one step's work.

`DataParallel` gives each thread, or process, a replica of the model, which shares the values and owns its gradients and
buffers, and a part of the batch; afterwards the gradients are summed, in a fixed order, over slices of the flat arenas.
Layers know nothing of it.
"""

import functools
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from nanograd.anomaly import watched
from nanograd.device.threads import WORTH_A_THREAD, ThreadPool
from nanograd.layers.cross_entropy import without_ignored
from nanograd.layers.layer import Layer
from nanograd.optim.arena import arenas_of, replica_of
from nanograd.parallel.processes import WorkerProcess, call_all, shared_empty

CHUNK_ELEMENTS = 2048 * 128  # positions x channels of a chunk: smaller ones cost more calls, larger ones memory
PARAMETERS_PER_ACTIVATION = 100  # where a model has more, passes over its gradients outweigh the split of a batch


@dataclass(frozen=True)
class Plan:
    """How `threads` threads share a step: `workers` replicas of the model, each with `blas` threads for its products,
    which take `chunk` samples at a time."""

    threads: int
    workers: int
    blas: int
    chunk: int


def plan_threads(threads: int, *, batch_size: int, positions: int, channels: int, parameters: int) -> Plan:
    """Decide between splitting the batch and splitting the products, for a model of that many parameters.

    A replica costs a pass over all gradients to add them up. That is little where a worker has many positions for
    each row of weights, and too much where the model is large and the batch small: there one replica computes,
    and the BLAS splits each product.
    """
    workers = min(threads, batch_size)
    if parameters > PARAMETERS_PER_ACTIVATION * batch_size * positions * channels or workers < threads:
        return Plan(threads, 1, threads, batch_size)
    chunk = max(1, CHUNK_ELEMENTS // (positions * channels))
    return Plan(threads, workers, 1, chunk)


class DataParallel:
    """Forward and backward over a batch that is split among `pool`'s threads and into chunks.

    A chunk is a number of samples that go through the model at once. Fewer of them need less memory; more of them
    need fewer calls, at each of which threads may have to wait for Python's lock. With `processes` all threads but the
    caller's are forked processes, which need not wait; the numbers are the same to the last bit.
    """

    def __init__(self, model: Layer, pool: ThreadPool, chunk: int, processes: bool = False):
        self.model, self.pool, self.chunk = model, pool, chunk
        self.processes = processes and pool.size > 1 and isinstance(next(model.parameters()).value, np.ndarray)
        if self.processes:
            for arena in arenas_of(model):
                arena.move(shared_empty)
        self.replicas = [model, *(replica_of(model) for _ in range(pool.size - 1))]

    def forward_backward(self, idx, targets, count: int, step: int = 0, first: int = 0, meanwhile=None):
        """Add the gradients of this batch's share in a mean over `count` positions; returns its share of the loss.

        idx, targets: (B, T) ids on the host; targets of -100 have no loss, and `count` leaves them out. `step`,
        `first`: which step, and which global sample the batch begins with, to key the dropout masks. Gradients are
        complete after `reduce`. `meanwhile` is called when the caller's part is done; others may still be at work.
        """
        parts = self.pool.slices(len(idx))
        tasks = [(self.chunk, idx[p], targets[p], count, step, first + p.start) for p in parts]
        if not self._apart(tasks):
            loss = sum(self._side_by_side(add_gradients, tasks))
            if meanwhile:
                meanwhile()
            return loss
        replicas = self.replicas[: len(parts)]
        told = [(is_blank(replica), *task) for replica, task in zip(replicas, tasks, strict=True)]
        shares = call_all(self.workers, add_all_gradients, self.model, told, meanwhile)
        for replica in replicas:
            mark_gradients(replica, blank=False)
        return sum(shares)

    def loss(self, idx, targets) -> float:
        """The mean loss of a batch in evaluation mode, without gradients, over the targets that are not ignored."""
        parts, count = self.pool.slices(len(idx)), len(without_ignored(targets))
        tasks = [(self.chunk, idx[p], targets[p], count) for p in parts]
        if self._apart(tasks):
            return float(sum(call_all(self.workers, evaluated_loss, self.model, tasks)))
        return float(sum(self._side_by_side(evaluated_loss, tasks)))

    def _apart(self, tasks: list) -> bool:
        """Are these tasks for processes?"""
        return self.processes and len(tasks) > 1 and bool(self.workers)

    def _side_by_side(self, function, tasks: list[tuple]) -> list:
        """[function(replica, *task) for each task], each on a replica of its own, by threads."""
        return self.pool.map(lambda pair: function(pair[0], *pair[1]), zip(self.replicas, tasks, strict=False))

    @functools.cached_property
    def workers(self) -> list[WorkerProcess]:
        """A process for each replica but the first, forked when they are needed for the first time.

        Where the system allows no more of them there are none, which a warning tells, and threads do the same.
        """
        try:
            return [WorkerProcess(replica) for replica in self.replicas[1:]]
        except OSError as error:
            warnings.warn(f"no process can be made ({error.strerror}): threads share the work", stacklevel=2)
            return []

    @contextmanager
    def watched(self):
        """Inside, the first layer that meets a number that is not finite raises Anomaly; see nanograd/anomaly.py."""
        processes, self.processes = self.processes, False  # a worker's layers are not those that are watched
        try:
            with watched(*self.replicas):
                yield
        finally:
            self.processes = processes

    def reduce(self) -> None:
        """Add the replicas' gradients to the model's, in the order of the replicas, by slices of the arenas."""
        if len(self.replicas) == 1:
            return
        for arenas in zip(*(arenas_of(replica) for replica in self.replicas), strict=True):
            total, *others = (arena.grads for arena in arenas)

            def add(part, total=total, others=others):
                for other in others:
                    total[part] += other[part]

            self.pool.map(add, self.pool.slices(total.size, WORTH_A_THREAD))

    def zero_grad(self) -> None:
        for replica in self.replicas:
            mark_gradients(replica, blank=True)


# What is done with one replica, by a thread or a process of its own.


def add_gradients(replica: Layer, chunk: int, idx, targets, count: int, step: int, first: int):
    """Forward and backward, a chunk at a time; returns the share of the loss."""
    loss = 0
    for rows in pieces(len(idx), chunk):
        replica.rng.begin_step(step, first + rows.start)
        _, share = replica(idx[rows], targets[rows], count, keep_logits=False)
        replica.backward()
        loss += share
    return loss


def add_all_gradients(replica: Layer, blank: bool, *task):
    """The same in a process, which does not see what another one notes of the gradients: `blank` says how they are.

    Afterwards none of them is blank.
    """
    mark_gradients(replica, blank)
    loss = add_gradients(replica, *task)
    for arena in arenas_of(replica):
        arena.fill_blanks()
    return loss


def is_blank(replica: Layer) -> bool:
    """Is there nothing in the gradients (see Parameter)? If only some of them are blank, they are filled first."""
    arenas = arenas_of(replica)
    if all(arena.is_blank() for arena in arenas):
        return True
    for arena in arenas:
        arena.fill_blanks()
    return False


def mark_gradients(replica: Layer, blank: bool) -> None:
    """Note that all gradients are blank, or that all are filled, by a process that shares their memory."""
    for arena in arenas_of(replica):
        if blank:
            arena.zero()
        else:
            arena.mark_filled()


def evaluated_loss(replica: Layer, chunk: int, idx, targets, count: int):
    """The share of the loss in evaluation mode."""
    training = replica.training
    replica.eval()
    try:
        return sum(replica(idx[rows], targets[rows], count, keep_logits=False)[1] for rows in pieces(len(idx), chunk))
    finally:
        replica.train(training)


def pieces(n: int, length: int) -> list[slice]:
    """range(n) in slices of `length`; the last one may be shorter."""
    return [slice(start, min(start + length, n)) for start in range(0, n, length)]
