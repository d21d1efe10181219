"""Derivatives of a function by evaluating it: the complex step, and central differences of fourth order.

For a smooth f, a real point x and a direction v:

Complex step (Squire & Trapp 1998, https://doi.org/10.1137/S003614459631241X). Where f is analytic, Taylor's series
along the imaginary axis is

    f(x + i h v) = f(x) + i h f'(x) v - h^2 f''(x) v v / 2 - ...

so Im f(x + i h v) / h is the derivative with an error of order h^2 and, as nothing is subtracted, without
cancellation: h = 1e-30 gives it to the last digits. A ReLU written as a maximum is no obstacle, since NumPy
orders complex numbers by their real part first: off the kink the right branch is taken.

Differences, where f cannot take complex numbers or is not analytic (|x|, say):

    f'(x) v = [8 (f(x + h v) - f(x - h v)) - (f(x + 2 h v) - f(x - 2 h v))] / (12 h)  +  O(h^4)

Smaller h: less truncation, more rounding. Two sizes of h that agree are both good, and a kink between x - 2hv and
x + 2hv makes them disagree; so h shrinks until they do agree, which steps around every kink that is not at x
itself. For one that is, see `at_kink`.
"""

import warnings

import numpy as np

IMAGINARY = 1e-30
LARGEST, SMALLEST = 2e-3, 4e-7  # steps of the differences
AGREE = 2e-11  # two estimates that differ by less, relative to the largest derivative, are taken as right

COMPLEX_STEP, DIFFERENCES = "complex step", "differences"


class Function:
    """`evaluate({name: array}) -> (m,)` around the point `values`, and its derivatives along directions there.

    A direction is {name: array} for the arrays that it moves.
    """

    def __init__(self, evaluate, values: dict[str, np.ndarray]):
        self.evaluate = evaluate
        self.values = values
        self.complex_values = {name: value.astype(np.complex128) for name, value in values.items()}
        self.scale = 0.0  # of the differences: the largest derivative seen
        self.unsure = False  # whether differences of two sizes ever failed to agree

    def here(self) -> np.ndarray:
        return self.evaluate(self.values)

    def moved(self, direction: dict[str, np.ndarray], step: float) -> np.ndarray:
        return self.evaluate(self.values | {n: self.values[n] + step * v for n, v in direction.items()})

    def moved_complex(self, direction: dict[str, np.ndarray], step: float) -> np.ndarray:
        moved = {n: self.complex_values[n] + 1j * step * v for n, v in direction.items()}
        return self.evaluate(self.complex_values | moved)

    def by_complex_step(self, direction: dict[str, np.ndarray]) -> np.ndarray:
        return self.moved_complex(direction, IMAGINARY).imag / IMAGINARY

    def by_differences(self, direction: dict[str, np.ndarray]) -> np.ndarray:
        """Tries steps from large to small until two agree. Where none do, is `unsure` and returns the best there is."""
        best, closest, coarse, step = None, np.inf, None, LARGEST
        while step >= SMALLEST:
            near = self.moved(direction, step) - self.moved(direction, -step)
            far = self.moved(direction, 2 * step) - self.moved(direction, -2 * step)
            fine = (8 * near - far) / (12 * step)
            if coarse is not None:
                gap = largest(fine - coarse)
                if best is None or gap < closest:
                    best, closest = fine, gap
                if gap <= AGREE * max(self.scale, largest(fine)):
                    break
            coarse, step = fine, step / 4
        else:
            self.unsure = True
        self.scale = max(self.scale, largest(best))
        return best

    def along(self, direction: dict[str, np.ndarray], method: str) -> np.ndarray:
        """(m,): how fast each output changes along `direction`."""
        return self.by_complex_step(direction) if method == COMPLEX_STEP else self.by_differences(direction)

    def is_analytic(self, direction: dict[str, np.ndarray]) -> bool:
        """Does the complex step work here? It is believed only after it agreed with differences along `direction`."""
        numeric = self.by_differences(direction)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                stepped = self.by_complex_step(direction)
        except Exception:  # whatever a forward that ran on real numbers raises on complex ones: it cannot take them
            return False
        if not np.isfinite(stepped).all():
            return False
        rounding = 1e-13 + 1e-9 * largest(self.here())
        gap = largest(stepped - numeric)
        return bool(gap <= 1e-3 * largest(numeric) + rounding)

    def at_kink(self, direction: dict[str, np.ndarray], method: str) -> bool:
        """Is there a kink at the point itself, so that the derivative along `direction` depends on the side?

        By complex step: the two sides of the real axis must be mirror images. By differences: the slopes to the
        right and to the left differ, and go on differing when the step shrinks.
        """
        if method == COMPLEX_STEP:
            above = self.moved_complex(direction, IMAGINARY).imag
            below = self.moved_complex(direction, -IMAGINARY).imag
            return bool(largest(above + below) > 1e-6 * largest(above))
        here = self.here()
        bends = []
        for step in (1e-4, 1e-6):
            right, left = self.moved(direction, step) - here, here - self.moved(direction, -step)
            bends.append(np.abs(right - left) / step)
        slope = max(self.scale, largest(right) / step)
        return bool((bends[1] > np.maximum(0.3 * bends[0], 1e-3 * slope)).any())


def largest(array: np.ndarray) -> float:
    """The largest absolute value; 0 where there is none."""
    return np.abs(array).max(initial=0)
