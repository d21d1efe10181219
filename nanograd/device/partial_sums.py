"""Sums over positions on a GPU, for the gradients of many vectors: parts first, and all that wait added up at once.

The gradient of a bias or of a norm's weight is a sum over thousands of positions. To keep a GPU busy, blocks of threads
take a slab of the positions each and leave a part, and a launch of its own has to add the parts up. Here those of all
vectors of an arena lie side by side, (slabs, n): one launch does it for all of them, when a gradient is first read.
Every sum has one order: slab by slab, and within a slab that of its kernel.
"""

from nanograd.device.device import fused, xp_of

ROWS = 64  # positions of a slab, at least, so that parts take little room beside what they are sums of
SLABS = 256  # at most


@fused
def add_parts(parts, total, add: bool):  # (S, n), (n,)
    """total = the sum of the rows of `parts`, and with `add` what was in `total`."""
    total[...] = parts.sum(0) + (total if add else 0)


class PartialSums:
    """Parts that wait to be added to `grads` (n,), the gradients of vectors side by side. Each vector has a `Parts`."""

    def __init__(self, grads):
        self.grads, self.array, self.places = grads, None, []

    def slabs(self, rows: int) -> int:
        """How many parts a sum over `rows` positions has. The first one since they were added up decides."""
        if self.array is None:
            slabs = max(1, min(SLABS, -(-rows // ROWS)))
            self.array = xp_of(self.grads).empty((slabs, self.grads.size), dtype=self.grads.dtype)
        return len(self.array)

    def add_up(self) -> None:
        """Add to the gradients what waits, neighbours in one launch."""
        start = 0
        while start < len(self.places):
            stop = start + 1
            if (first := self.places[start]).waiting:
                while stop < len(self.places) and self.places[stop].continues(self.places[stop - 1]):
                    stop += 1
                columns = slice(first.where.start, self.places[stop - 1].where.stop)
                add_parts(self.array[:, columns], self.grads[columns], first.add)
                for place in self.places[start:stop]:
                    place.waiting = False
            start = stop
        self.array = None


class Parts:
    """The columns `where` of a PartialSums, which belong to `parameter`."""

    waiting = add = False  # whether there is something; whether the gradient it is to be added to holds something

    def __init__(self, sums: PartialSums, parameter, where: slice):
        self.sums, self.parameter, self.where = sums, parameter, where
        sums.places.append(self)

    def continues(self, other: "Parts") -> bool:
        return self.waiting and self.where.start == other.where.stop and self.add == other.add

    def take(self):  # -> (C,), bool
        """The first of the parts, from which the next are `sums.grads.size` numbers apart each, and whether they hold
        something already that is to be added to. There must be as many of them as `sums.slabs` says."""
        held, parameter = self.waiting, self.parameter
        if not held:
            self.waiting, self.add, parameter.grad_is_zero = True, not parameter.grad_is_zero, False
        return self.sums.array[0, self.where], held
