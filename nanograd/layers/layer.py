"""What every layer shares: a memory of the forward pass, scratch buffers, a walk over the tree.

A layer has a `forward`, from x to y, and right under it a `backward`, from dy to dx. For a loss L, one number at the
end of the model, dy is the gradient of L by y: an array of y's shape, whose element dy_j = ∂L/∂y_j says how much L
grows when y_j does. It comes from the layer above: the upstream gradient. dx is the same for x, and follows from
dy by the chain rule, because x_i acts on L through every y_j:

    dx_i = sum_j dy_j ∂y_j/∂x_i

The matrix of all ∂y_j/∂x_i is the layer's Jacobian. It is not stored: a layer's docstring finds a formula for the sum.
[i = j] stands for 1 where i = j and 0 elsewhere. nanograd/reference/ has every layer in its shortest form.

Three rules hold everywhere:

* Accumulation is a policy: parameter gradients are added to (`+=`), activation gradients are assigned (`=`).
  So a parameter used in two places, such as a tied embedding, needs no special care.
* Memory: `forward` leaves what `backward` needs with `self.remember(...)`; `backward` takes it with
  `self.recall()`, once.
* Ownership: what a layer is given is borrowed, never written to. What `forward` returns is lent until that
  layer's next forward; what lies in scratch, as the sum inside a block, until that of a layer with the same scratch.
  What `backward` returns is handed over; the caller may add into it.
"""

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nanograd.device import huge_pages
from nanograd.device.device import Device, as_array, check_device, xp_of
from nanograd.device.elementwise import cast
from nanograd.device.parameter import Parameter


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found no match for, as torch calls it."""

    missing_keys: list[str]
    unexpected_keys: list[str]


WORKSPACE = (
    "_saved",
    "_buffers",
    "_scratch",
    "_arenas",
)  # attributes of a layer that are made again when they are needed


class Layer:
    """The base of every layer. A subclass writes `forward` and `backward`, and nothing else by necessity."""

    training = True

    def __new__(cls, *values, device: Device | None = None, **settings):
        check_device(device)
        return super().__new__(cls)

    def forward(self, x):
        raise TypeError(f"{type(self).__name__} does not define forward")

    def backward(self, dy):
        raise TypeError(f"{type(self).__name__} does not define backward")

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def __deepcopy__(self, memo) -> "Layer":
        replica = memo[id(self)] = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if name != "_arenas":  # the copies of its parameters are no parts of arenas
                setattr(replica, name, copy.deepcopy(value, memo))
        return replica

    def __getstate__(self) -> dict:  # for pickle: settings, parameters and layers, without memory that is made again
        return {name: value for name, value in vars(self).items() if name not in WORKSPACE}

    def __repr__(self) -> str:
        """As torch prints a module: the layer's settings and the shapes of its parameters, then the layers below."""
        own = [f"{name}={parameter.shape}" for name, parameter in self._children(Parameter)]
        for name, value in vars(self).items():
            if isinstance(value, bool | int | float | str) and not name.startswith("_") and name != "training":
                own.append(f"{name}={value!r}")
        head = f"{type(self).__name__}({', '.join(own)}"
        lines = []
        for name, text in [(name, repr(child)) for name, child in self._children(Layer)]:
            place, _, number = name.rpartition(".")
            if lines and number.isdigit() and lines[-1][0] == place and lines[-1][3] == text:
                lines[-1][2] = number  # one more of the same kind in a list
            else:
                lines.append([place if number.isdigit() else name, number, number, text])
        if not lines:
            return head + ")"
        shown = []
        for name, first, last, text in lines:
            if first.isdigit():
                count = int(last) - int(first) + 1
                name, text = (
                    (f"{name}.{first}", text) if count == 1 else (f"{name}.{first}-{last}", f"{count} x {text}")
                )
            shown.append(f"({name}): {text}".replace("\n", "\n  "))
        return head + "\n  " + "\n  ".join(shown) + "\n)"

    # What backward needs of forward

    def remember(self, *saved) -> None:
        """Keep `saved` for the backward pass that belongs to this forward pass."""
        self._saved = saved

    def recall(self):
        """Take what `remember` kept (one thing bare, several as a tuple). It can be taken once.

        Raises RuntimeError when no forward pass came before, or when its backward pass has been done already.
        """
        saved = getattr(self, "_saved", None)
        if saved is None:
            name = type(self).__name__
            raise RuntimeError(f"{name}.backward needs a {name}.forward before it, one forward for each backward")
        self._saved = None
        return saved[0] if len(saved) == 1 else saved

    def expect_shape(self, what: str, array, shape: tuple[int, ...]) -> None:
        """Raise ValueError, naming both shapes, unless `array`, which is `what` to this layer, has `shape`."""
        if array.shape != shape:
            raise ValueError(f"{type(self).__name__}: {what} has shape {array.shape}, expected {shape}")

    # Memory that is used again in every step

    def buffer(self, name: str, shape=None, *, like):
        """An array that the layer keeps, of `shape` (default: that of `like`) and the dtype of `like`.

        Its contents are whatever the last user left. A buffer asked for again in a smaller shape is a view of
        the same memory, so batches of changing sizes do not allocate. On a GPU it comes from CuPy's pool, which
        hands memory out without a wait, and goes back there when it is not referenced any more.
        """
        return _array_in(self.__dict__.setdefault("_buffers", {}), name, shape, like)

    def scratch(self, name: str, shape=None, *, like):
        """A buffer that is free again once the caller of `forward` or `backward` is done with the result.

        Layers that take turns, as the blocks of a stack do, may have the same scratch: see `share_scratch`.
        """
        return _array_in(self.__dict__.setdefault("_scratch", {}), name, shape, like)

    def drop_buffers(self) -> None:
        """Give all that memory back, and forget a forward pass that is still open."""
        for _, layer in self.named_layers():
            layer.__dict__.pop("_buffers", None)
            layer.__dict__.get("_scratch", {}).clear()
            layer._saved = None

    def cast_parameter(self, parameter: Parameter, like):
        """The parameter's values for a product with `like`: themselves, or rounded where `like` is narrower."""
        value = parameter.value
        if like.dtype.itemsize >= value.dtype.itemsize:
            return value
        if parameter.rounded is not None:
            return parameter.rounded
        narrow = self.buffer("narrow", value.shape, like=like)
        cast(value, narrow)
        return narrow

    # The tree

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, "Layer"]]:
        """This layer and all below it, with their dotted names, in the order of their definition."""
        yield prefix, self
        for name, child in self._children(Layer):
            yield from child.named_layers(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name. A shared one appears under its first name only."""
        seen = set()
        for prefix, layer in self.named_layers():
            for name, parameter in layer._children(Parameter):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{prefix}.{name}" if prefix else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def _children(self, kind: type):
        for name, value in vars(self).items():
            if name.startswith("_"):
                continue
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, list | tuple):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, kind))

    # All layers below at once

    def train(self, training: bool = True) -> "Layer":
        """Training mode: dropout is on. Returns the layer itself."""
        for _, layer in self.named_layers():
            layer.training = training
        return self

    def eval(self) -> "Layer":
        """Evaluation mode: dropout is off. Returns the layer itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self, copy: bool = True) -> dict:
        """{name: NumPy array} of the parameters on the host. Without `copy`, views of them where that can be."""
        return {name: to_host(parameter.value, copy) for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: dict, strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Copy the tensors of `state` into the parameters of the same names; returns what did not match.

        The tensors are NumPy arrays, arrays of the device, torch tensors or lists. A parameter that two layers share
        may stand there under either name, or under both with the same numbers. With `assign`, as in torch, parameters
        take the arrays themselves, without a copy, where that can be: NumPy arrays of the parameter's dtype, and no
        optimiser yet. Raises ValueError, before anything is changed: with `strict` if tensors are missing or
        unexpected, naming them all in order, and always for one of another shape, not of numbers, or not finite.
        """
        own, names = dict(self.named_parameters()), self._names_of_shared()
        state = arrays_of(state)
        for name, first in names.items():
            if name in state and first in state and not np.array_equal(state[name], state[first]):
                raise ValueError(f"tensors {first} and {name} differ, and this model has one parameter for both")
        found = {names.get(name, name): value for name, value in reversed(state.items())}
        keys = compare_names(own, [names.get(name, name) for name in state])
        if strict:
            check_names("tensors", keys)
        for name, parameter in own.items():
            if name in found:
                check_tensor(name, found[name], parameter.shape)
        for name, parameter in own.items():
            if name in found and not (assign and parameter.take(found[name])):
                parameter.value[...] = xp_of(parameter.value).asarray(found[name], dtype=parameter.value.dtype)
        return keys

    def _names_of_shared(self) -> dict[str, str]:
        """{further name: first name} of the parameters that several layers share."""
        first, further = {}, {}
        for prefix, layer in self.named_layers():
            for name, parameter in layer._children(Parameter):
                name = f"{prefix}.{name}" if prefix else name
                if first.setdefault(id(parameter), name) != name:
                    further[name] = first[id(parameter)]
        return further


def _array_in(held: dict, name: str, shape, like):
    """The array `name` of a dictionary of arrays, made or made larger if need be."""
    shape = like.shape if shape is None else shape
    if not isinstance(like, np.ndarray):
        return xp_of(like).empty(shape, dtype=like.dtype)
    array, flat = held.get(name, (None, None))
    if array is not None and array.dtype == like.dtype:
        if array.shape == shape:
            return array
    else:
        flat = None
    size = math.prod(shape)
    if flat is None or flat.size < size:
        flat = huge_pages.empty(size, like.dtype)
    array = flat[:size].reshape(shape)
    held[name] = array, flat
    return array


def share_scratch(layers: list[Layer]) -> None:
    """Let layers of the same make, of which one at a time computes, work in the same scratch memory."""
    for group in zip(*(layer.named_layers() for layer in layers), strict=True):
        shared = group[0][1].__dict__.setdefault("_scratch", {})
        for _, layer in group:
            layer._scratch = shared


def arrays_of(state: Mapping) -> dict:
    """{name: array} of a state whose tensors are arrays, torch tensors or lists. Raises TypeError for no mapping."""
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a dict of tensors by name, not {type(state).__name__}")
    return {str(name): as_array(value) for name, value in state.items()}


def compare_names(own: Collection[str], given: Collection[str]) -> IncompatibleKeys:
    """The names that are missing among `given`, and those of `given` that are not of `own`, each in its order."""
    return IncompatibleKeys([name for name in own if name not in given], [name for name in given if name not in own])


def check_names(what: str, keys: IncompatibleKeys) -> None:
    """Raise ValueError, naming all the missing and unexpected `what`, unless there are none."""
    missing, unexpected = keys
    lines = [f"missing {what}: {', '.join(missing)}"] * bool(missing)
    lines += [f"unexpected {what}: {', '.join(unexpected)}"] * bool(unexpected)
    if missing:
        ends = [name.removesuffix(missing[0]) for name in unexpected if name.endswith(f".{missing[0]}")]
        lines += [f"leave the prefix {prefix} out" for prefix in ends if {prefix + n for n in missing} <= {*unexpected}]
    if lines:
        raise ValueError("; ".join(lines))


def check_tensor(name: str, value, shape: tuple[int, ...]) -> None:
    """Raise ValueError, naming the tensor, unless `value` holds finite real numbers in `shape`."""
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"tensor {name} has shape {tuple(value.shape)}, expected {tuple(shape)}")
    if value.dtype.kind != "f":
        raise ValueError(f"tensor {name} holds {value.dtype}, expected floating-point numbers")
    if not bool(xp_of(value).isfinite(value).all()):
        raise ValueError(f"tensor {name} holds NaN or infinity")


def to_host(array, copy: bool = True):
    """A device array as a NumPy array: a copy, or with copy=False the array itself where it is one already."""
    if hasattr(array, "get"):
        return array.get()
    return array.copy() if copy else array
