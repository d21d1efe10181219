"""Parameter: an array that is learned, its gradient, and what waits to be added to that."""

import numpy as np

from nanograd.device.device import as_array, xp_of


class Parameter:
    """An array that is learned, and the gradient of the loss with respect to it.

    `value` and `grad` are device arrays of one shape. Both may be views into larger buffers (see `arena.py`), which an
    optimiser works on: so what is assigned to them is copied into place. `grad = None` makes the gradient zero.
    Raises ValueError for another shape.

    After `zero_grad` the gradient is known to be zero, yet not written (`grad_is_zero`). It is filled with zeros when
    it is read, and overwritten when the first thing to be added is a matrix product.
    `widths`: the columns of each of the matrices that stand side by side in it, where there are several. `rounded`: the
    values as narrower products take them, inside `rounded_together` (`arena.py`). `parts`: where sums over positions
    wait to be added to the gradient, on a GPU (`partial_sums.py`).
    """

    widths: tuple[int, ...] = ()
    rounded = None
    parts = None

    def __init__(self, value):
        self._value = value
        self._grad = None
        self.grad_is_zero = True

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):  # also the second half of `parameter.value += x`
        if value is not self._value:
            self._value[...] = self._fitting("value", value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def grad(self):
        self.add_waiting()
        self.write_zeros()
        return self._grad

    @property
    def accumulator(self):
        """What a sum over positions is added to: the gradient, or the parts that wait to be added to it."""
        return self.grad if self.parts is None else self.parts

    @grad.setter
    def grad(self, grad):  # also the second half of `parameter.grad += x`
        if grad is None:
            self.zero_grad()
        elif grad is not self._grad:
            self.grad[...] = self._fitting("grad", grad)

    def _fitting(self, what: str, array):
        array = xp_of(self._value).asarray(as_array(array))
        if array.shape != self.shape:
            raise ValueError(f"the {what} of a parameter of shape {self.shape} cannot be of shape {array.shape}")
        return array

    def zero_grad(self) -> None:
        self.grad_is_zero = True
        if self.parts is not None:
            self.parts.waiting = False

    def add_waiting(self) -> None:
        """Add what waits in parts to the gradient, and to those of its neighbours likewise."""
        if self.parts is not None and self.parts.waiting:
            self.parts.sums.add_up()

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

    def move(self, value, grad, parts=None) -> None:
        """Live in other memory from now on: `value` and `grad` already hold what the old arrays held."""
        self._value, self._grad, self.parts = value, grad, parts

    def take(self, array) -> bool:
        """Live in `array`, which holds new values. False, and nothing is changed, if it is not stored as `value` is, or
        if `value` is a view of memory that an optimiser works on."""
        value = self._value
        fits = type(array) is type(value) is np.ndarray and (array.dtype, array.shape) == (value.dtype, value.shape)
        if not fits or value.base is not None or not array.flags.carray:
            return False
        self.move(array, self._grad)
        return True

    def __repr__(self) -> str:
        return f"Parameter({self.shape}, {self.value.dtype})"

    def __getstate__(self) -> dict:  # for pickle and copies: without the gradient
        widths = {"widths": self.widths} if self.widths else {}
        return {"_value": self._value, "_grad": None, "grad_is_zero": True} | widths
