"""Flat arenas: all parameters of a kind in one buffer of values, and all their gradients in another.

A parameter becomes a view into the two. So zeroing, the gradient norm, AdamW and an all-reduce over ranks are
each one or a few operations over one long array, on any backend, however many layers there are. There are two
arenas: the matrices, which decay, and the vectors (biases and LayerNorm's gains), which do not.
"""

import contextlib
import copy
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from nanograd.device.device import xp_of
from nanograd.device.elementwise import cast
from nanograd.device.parameter import Parameter
from nanograd.device.partial_sums import PartialSums, Parts
from nanograd.layers.layer import Layer


class Arena:
    """`values` and `grads`: flat arrays of equal length that the `parameters` (name -> Parameter) are views of.

    Without `values` the parameters' own are copied in; with it, as for a replica, they are replaced by its parts.
    `empty(size, dtype)` makes the arrays, by default as NumPy or CuPy do.
    """

    def __init__(self, parameters: dict[str, Parameter], decay: bool, values=None, empty=None):
        self.parameters = parameters
        self.decay = decay
        example = next(iter(parameters.values())).value
        size = sum(parameter.value.size for parameter in parameters.values())
        self.empty = empty or xp_of(example).empty
        self.replicas = weakref.WeakSet()
        self._hold(
            self.empty(size, example.dtype) if values is None else values,
            self.empty(size, example.dtype),
            new_values=values is None,
        )

    def _hold(self, values, grads, new_values: bool) -> None:
        """Live in these arrays, the second of which, and with `new_values` the first, holds nothing yet."""
        self.values, self._grads = values, grads
        summed = not self.decay and not isinstance(grads, np.ndarray)
        self.sums = PartialSums(grads) if summed else None
        for name, part in self.slices():
            parameter = self.parameters[name]
            view, grad = values[part].reshape(parameter.shape), grads[part].reshape(parameter.shape)
            if new_values:
                view[...] = parameter.value
            if not parameter.grad_is_zero:
                grad[...] = parameter.grad
            parameter.move(view, grad, Parts(self.sums, parameter, part) if summed else None)

    def move(self, empty) -> None:
        """Live in arrays that `empty` makes from now on, and the arenas of replicas with it."""
        if self.empty is empty:
            return
        self.empty = empty
        size, dtype = self.values.size, self.values.dtype
        self._hold(empty(size, dtype), empty(size, dtype), new_values=True)
        for replica in self.replicas:
            replica.empty = empty
            replica._hold(self.values, empty(size, dtype), new_values=False)

    def replica(self, parameters: dict[str, Parameter]) -> "Arena":
        """An arena of `parameters` with these values and gradients of its own."""
        replica = Arena(parameters, self.decay, self.values, self.empty)
        self.replicas.add(replica)
        return replica

    @property
    def grads(self):
        """The flat gradients, with zeros where nothing has arrived yet."""
        self.fill_blanks()
        return self._grads

    def fill_blanks(self) -> None:
        if self.sums is not None:
            self.sums.add_up()
        for parameter in self.parameters.values():
            parameter.write_zeros()

    def zero(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.zero_grad()

    def is_blank(self) -> bool:
        return all(parameter.grad_is_zero for parameter in self.parameters.values())

    def mark_filled(self) -> None:
        """Say that another process, which shares this memory, has written all of the gradients."""
        for parameter in self.parameters.values():
            parameter.grad_is_zero = False

    def slices(self):
        """(name, its slice of the flat arrays) of each parameter."""
        end = 0
        for name, parameter in self.parameters.items():
            start, end = end, end + parameter.value.size
            yield name, slice(start, end)


def group_parameters(model: Layer):
    """({name: Parameter}, whether they decay): the matrices, then the vectors, each where there are any."""
    named = dict(model.named_parameters())
    matrices = {name: p for name, p in named.items() if p.value.ndim >= 2}
    vectors = {name: p for name, p in named.items() if p.value.ndim < 2}
    return [(group, decay) for group, decay in ((matrices, True), (vectors, False)) if group]


def arenas_of(model: Layer) -> list[Arena]:
    """The model's arenas; its parameters are moved into them the first time."""
    if not hasattr(model, "_arenas"):
        model._arenas = [Arena(group, decay) for group, decay in group_parameters(model)]
    return model._arenas


@dataclass(frozen=True)
class Part:
    """Neighbours in an arena, to be updated as one: `values` and `grads` are that stretch of its arrays."""

    arena: Arena
    start: int
    stop: int

    @property
    def values(self):
        return self.arena.values[self.start : self.stop]

    @property
    def grads(self):
        return self.arena.grads[self.start : self.stop]

    def parameters(self):
        """(name, its slice of this part, the parameter) of each."""
        for name, where in self.arena.slices():
            if self.start <= where.start and where.stop <= self.stop:
                yield name, slice(where.start - self.start, where.stop - self.start), self.arena.parameters[name]


def parts_of(model: Layer, names: Collection[str]) -> list[Part]:
    """The parameters of these names, as few parts of the model's arenas as hold them and nothing else."""
    parts = []
    for arena in arenas_of(model):
        for name, where in arena.slices():
            if name not in names:
                continue
            if parts and parts[-1].arena is arena and parts[-1].stop == where.start:
                parts[-1] = Part(arena, parts[-1].start, where.stop)
            else:
                parts.append(Part(arena, where.start, where.stop))
    return parts


@contextlib.contextmanager
def rounded_together(model: Layer, names: Collection[str], dtype) -> Iterator[None]:
    """Inside, the parameters of these names are there in `dtype` too, rounded a part of an arena at a time."""
    held = []
    for part in parts_of(model, names):
        rounded = xp_of(part.values).empty(part.stop - part.start, dtype=dtype)
        cast(part.values, rounded)
        for _, where, parameter in part.parameters():
            parameter.rounded = rounded[where].reshape(parameter.shape)
            held.append(parameter)
    try:
        yield
    finally:
        for parameter in held:
            del parameter.rounded


def replica_of(model: Layer) -> Layer:
    """A copy of `model` that shares its values and owns its gradients and buffers, for a worker of its own."""
    arenas = arenas_of(model)
    model.drop_buffers()
    shared = [arena.values for arena in arenas] + [arena._grads for arena in arenas]
    shared += [array for p in model.parameters() for array in (p.value, p._grad)]
    replica = copy.deepcopy(model, {id(thing): thing for thing in shared})
    replica.zero_grad()
    replica._arenas = [
        original.replica(group) for (group, _), original in zip(group_parameters(replica), arenas, strict=True)
    ]
    return replica
