"""Ranks that talk over MPI, through mpi4py.

A rank that has to wait must not keep the others from working: an MPI waits by spinning, which takes a whole
core, and a machine may have more ranks than cores. So a rank first waits for the others with short naps and
enters MPI's own, fast, spinning all-reduce only when all of them are there.
"""

import math
import os
import time

import numpy as np

from nanograd.device.cores import available_cores, cgroup_limit
from nanograd.parallel.communicator import Communicator

SPIN_SECONDS = 2e-4  # of waiting before the first nap
NAP_SECONDS = 1e-4
SMALL_BYTES = 4096  # up to which an array goes along with the waiting
VOTE_SECONDS = 0.3  # that a failing rank gives others to fail at the same time


class MPIRanks(Communicator):
    """The ranks of `mpi.COMM_WORLD`, where `mpi` is the module mpi4py.MPI.

    host_rank, host_size: the same among the ranks of this machine.
    """

    def __init__(self, mpi):
        self._mpi = mpi
        self._comm = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        self._host = self._comm.Split_type(mpi.COMM_TYPE_SHARED)
        self.host_rank, self.host_size = self._host.rank, self._host.size
        self._cores = self._share_cores()
        self._failures = mpi.COMM_WORLD.Dup()
        self._all_failed = False

    def all_reduce(self, array):
        in_place = self._mpi.IN_PLACE
        if array.nbytes <= SMALL_BYTES:
            wait(self._comm.Iallreduce(in_place, array))
        else:
            self.barrier()
            self._comm.Allreduce(in_place, array)
        return array

    def broadcast(self, array):
        self.barrier()
        self._comm.Bcast(array)
        return array

    def barrier(self) -> None:
        wait(self._comm.Ibarrier())

    def cores(self) -> int:
        return self._cores

    def _share_cores(self) -> int:
        """An MPI may give each rank cores of its own, or let all of them use all. A core that n ranks of this
        machine may use counts 1/n for each; a cgroup's limit holds for all of them together.
        """
        if not hasattr(os, "sched_getaffinity"):
            return max(1, available_cores() // self.host_size)
        own = sorted(os.sched_getaffinity(0))
        highest = np.array([own[-1]])
        self._host.Allreduce(self._mpi.IN_PLACE, highest, self._mpi.MAX)
        users = np.zeros(highest[0] + 1, dtype=np.int64)
        users[own] = 1
        self._host.Allreduce(self._mpi.IN_PLACE, users)
        share = (1 / users[own]).sum() + 1e-9
        return max(1, int(min(share, cgroup_limit() / self.host_size)))

    def fails_first(self) -> bool:
        """For a rank that has failed: is it the one to say so? Of several at the same time, the lowest is.

        Takes a moment, and needs no rank that has not failed to take part, so it works wherever those are.
        """
        failures = self._failures
        self._all_failed = wait(failures.Ibarrier(), VOTE_SECONDS)
        if self._all_failed or self.rank == 0:
            return self.rank == 0
        for rank in range(self.rank + 1, self.size):
            failures.Isend(np.zeros(1), rank)
        end = time.perf_counter() + VOTE_SECONDS
        while time.perf_counter() < end:
            if failures.Iprobe():
                time.sleep(10 * VOTE_SECONDS)  # until the rank that prints the error ends this one
                return False
            time.sleep(NAP_SECONDS)
        return True

    def leave(self) -> None:
        """Wait for all ranks to come to their end, and let go of MPI: nothing else can be asked of it then."""
        self._mpi.Finalize()

    def abort(self, code: int) -> None:
        """For a rank that has failed: end all the others at once, with `code` as the job's exit code."""
        if self._all_failed:
            self.leave()
        else:
            self._mpi.COMM_WORLD.Abort(code)


def wait(request, seconds: float = math.inf) -> bool:
    """Wait for an MPI request, at most so long, and not so as to keep a core from ranks that have work to do.

    Returns whether it is complete.
    """
    start = time.perf_counter()
    while not request.Test():
        waited = time.perf_counter() - start
        if waited > seconds:
            return False
        if waited > SPIN_SECONDS:
            time.sleep(NAP_SECONDS)
    return True
