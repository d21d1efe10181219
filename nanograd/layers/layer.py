"""What every layer shares: parameters, a memory of the forward pass, scratch buffers, a walk over the tree.

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
  layer's next forward; what lies in scratch, as the sum inside a block, until a twin's. What `backward` returns is
  handed over; the caller may add into it.
"""

import copy
import math
from collections.abc import Iterator

import numpy as np

from nanograd.device import huge_pages
from nanograd.device.device import xp_of
from nanograd.device.elementwise import cast


class Parameter:
    """An array that is learned, and the gradient of the loss with respect to it.

    `value` and `grad` are device arrays of one shape. Both may be views into larger buffers (see `arena.py`).
    After `zero_grad` the gradient is *blank*: known to be zero, yet not written. It is filled with zeros when
    somebody looks, and simply overwritten when the first thing to arrive is a matrix product.
    """

    def __init__(self, value):
        self.value = value
        self._grad = None
        self.grad_is_zero = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def grad(self):
        self.write_zeros()
        return self._grad

    @grad.setter
    def grad(self, grad):  # also the second half of `parameter.grad += x`
        if grad is not self._grad:
            self.grad[...] = grad

    def zero_grad(self) -> None:
        self.grad_is_zero = True

    def write_zeros(self) -> None:
        if self.grad_is_zero:
            if self._grad is None:
                self._grad = xp_of(self.value).empty_like(self.value)
            self._grad[...] = 0
            self.grad_is_zero = False

    def add_product(self, device, a, b) -> None:
        """grad += a @ b."""
        if self._grad is None:
            self._grad = xp_of(self.value).empty_like(self.value)
        device.matmul(a, b, self._grad, add=not self.grad_is_zero)
        self.grad_is_zero = False

    def move(self, value, grad) -> None:
        """Live in other memory from now on: `value` and `grad` already hold what the old arrays held."""
        self.value, self._grad = value, grad


class Layer:
    """The base of every layer. A subclass writes `forward` and `backward`, and nothing else by necessity."""

    training = True

    def forward(self, x):
        raise TypeError(f"{type(self).__name__} does not define forward")

    def backward(self, dy):
        raise TypeError(f"{type(self).__name__} does not define backward")

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def __deepcopy__(self, memo) -> "Layer":
        twin = memo[id(self)] = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if name != "_arenas":  # the copies of its parameters are no parts of arenas
                setattr(twin, name, copy.deepcopy(value, memo))
        return twin

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

    # Memory that is used again in every step

    def buffer(self, name: str, shape=None, *, like):
        """An array that lives with the layer, of `shape` (default: that of `like`) and the dtype of `like`.

        Its contents are whatever the last user left. A buffer asked for again in a smaller shape is a view of
        the same memory, so batches of changing sizes do not allocate. On a GPU it comes from CuPy's pool, which
        hands memory out without a wait, and goes back there when nobody needs it any more.
        """
        return _array_in(self.__dict__.setdefault("_buffers", {}), name, shape, like)

    def scratch(self, name: str, shape=None, *, like):
        """A buffer that nobody needs any more once the caller of `forward` or `backward` is done with the result.

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

    def load_state_dict(self, state: dict) -> None:
        """Copy the arrays of `state` into the parameters of the same names.

        Raises ValueError, before anything is changed, naming the first tensor that is missing, unknown, of
        another shape, not of numbers, or not finite.
        """
        own = dict(self.named_parameters())
        for name in own.keys() - state.keys():
            raise ValueError(f"tensor {name} is missing")
        for name, value in state.items():
            if name not in own:
                raise ValueError(f"tensor {name} is not one of this model's")
            check_tensor(name, value, own[name].shape)
        for name, parameter in own.items():
            parameter.value[...] = xp_of(parameter.value).asarray(state[name], dtype=parameter.value.dtype)


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


def share_scratch(twins: list[Layer]) -> None:
    """Let layers of the same make, of which one at a time computes, work in the same scratch memory."""
    for group in zip(*(twin.named_layers() for twin in twins), strict=True):
        shared = group[0][1].__dict__.setdefault("_scratch", {})
        for _, layer in group:
            layer._scratch = shared


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
