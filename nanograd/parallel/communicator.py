"""Ranks: the processes that train one model together, and what they exchange.

Each rank computes gradients of its part of the batch. `all_reduce` adds them up, so that every rank holds the
gradient of the whole batch and makes the same step. A `Communicator` is `Single` for a process on its own,
`MPIRanks` under mpiexec, or `NCCLRanks` where each of those has a GPU; world.py makes the one that this job needs.
"""

from abc import ABC, abstractmethod

import numpy as np

from nanograd.device.cores import available_cores


class Communicator(ABC):
    """`rank` of `size`, and operations that all ranks must enter in the same order."""

    rank = 0
    size = 1

    @abstractmethod
    def all_reduce(self, array):
        """Add up `array`, contiguous and of one shape everywhere, over all ranks, in place; returns it.

        The order of additions is fixed by `size`, and all ranks get the same bits.
        """

    @abstractmethod
    def broadcast(self, array):
        """Overwrite `array` with that of rank 0; returns it."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until every rank is here."""

    @abstractmethod
    def cores(self) -> int:
        """The cores for this rank to use: its share of those of its machine."""

    def part(self, first: int, n: int) -> slice:
        """This rank's slice of the `n` items that begin with `first`: contiguous, in the order of the ranks."""
        return slice(first + n * self.rank // self.size, first + n * (self.rank + 1) // self.size)

    def sum(self, value):
        """The sum of one number a rank: a float, or on a GPU a scalar there, for which the host does not wait."""
        if isinstance(value, int | float | np.ndarray | np.generic):
            return float(self.all_reduce(np.array([value], dtype=np.float64))[0])
        return self.all_reduce(value)


class Single(Communicator):
    """One process on its own: there is nothing to exchange."""

    def all_reduce(self, array):
        return array

    def broadcast(self, array):
        return array

    def barrier(self) -> None:
        pass

    def cores(self) -> int:
        return available_cores()

    def sum(self, value):
        return value
