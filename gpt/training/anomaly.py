"""Numbers that are not finite stop a run before they reach a parameter, and are traced to where they arose.

A NaN or an infinity anywhere in a step ends up in the norm of its gradient. `NonFiniteCheck` looks at that norm between
backward and update. On the CPU it is a plain number, and the run stops right there. A GPU must not be waited for in
every step; there the update itself is skipped, and so are all later ones, until the host next looks at a loss. In
both cases the parameters are those of the last good step, so that step can be done again, with the same batch and
the same dropout masks, and every layer watched (nanograd/anomaly.py).
"""

import contextlib
import math
import warnings
from collections.abc import Iterator

from gpt.diagnose.symptoms import brief, lower_rate
from nanograd.anomaly import Anomaly
from nanograd.optim.adamw import clip_scale, square_sum

MOST_UNCHECKED = 1000  # steps on a GPU


class NotFinite(ArithmeticError):
    """Step number `step`, counted from 0, has a loss or a gradient that is not finite; it changed no parameter."""

    def __init__(self, step: int, loss: float, grad_norm: float):
        what = "loss" if not math.isfinite(loss) else "norm of the gradient"
        super().__init__(f"the {what} is {grad_norm if math.isfinite(loss) else loss}")
        self.step = step


TROUBLE = NotFinite, Anomaly


class NonFiniteCheck:
    """Lets through only updates whose gradient is finite."""

    def __init__(self):
        self._bad = 0.0  # 0, or NaN for ever
        self._unchecked = []  # (step, loss, norm), device scalars

    def scale(self, step: int, loss, norm, max_norm: float):
        """The factor for the gradients of a step: what clips them to `max_norm` (0 does not clip), or, on a GPU
        after a loss or norm that was not finite, NaN, which stands for no update at all.

        Raises NotFinite if it can be known without waiting.
        """
        scale = clip_scale(norm, max_norm) if max_norm else 1.0
        if isinstance(norm, float):
            if not (math.isfinite(norm) and math.isfinite(loss)):
                raise NotFinite(step, float(loss), norm)
            return scale
        self._bad = (loss + norm + self._bad) * 0
        self._unchecked.append((step, loss, norm))
        if len(self._unchecked) > MOST_UNCHECKED:
            self.check()
        return scale + self._bad

    def check(self) -> None:
        """Wait for the device. Raises NotFinite, of the first such step, if an update was skipped."""
        if self._unchecked and float(self._bad) != 0:
            for step, loss, norm in self._unchecked:
                if not (math.isfinite(float(norm)) and math.isfinite(float(loss))):
                    raise NotFinite(step, float(loss), float(norm))
        self._unchecked.clear()


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Keep NumPy from warning of overflow and NaN: here they are looked for, and reported with their origin."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".* encountered in ", RuntimeWarning)
        yield


def evaluate(trainer) -> dict[str, float]:
    """`trainer.evaluate()`. Raises Anomaly, of the layer where it arose, if a loss is not finite."""
    losses = trainer.evaluate()
    if not all(math.isfinite(loss) for loss in losses.values()):
        with trainer.parallel.watched():
            trainer.evaluate()
        raise Anomaly("", "forward", "the losses of an evaluation add up to no finite number")
    return losses


def trouble_in_step(trainer, error: ArithmeticError) -> tuple[int, str]:
    """(the step, counted from 0, in which `error` came; what to tell the user of it)."""
    if isinstance(error, NotFinite):
        step, problem = error.step, f"{error}; {origin(trainer, error.step)}"
    else:  # a watched step, which says by itself where it came from
        step, problem = trainer.step, str(error)
    return step, f"{problem}; {likely_causes(trainer, step)}"


def origin(trainer, step: int) -> str:
    """Do a step's forward and backward passes again, watched; says which layer and operation went wrong."""
    try:
        with trainer.parallel.watched():
            trainer.gradients(*trainer.batch(step), step)
    except Anomaly as anomaly:
        return f"it comes from {anomaly}"
    name, _ = max(trainer.model.named_parameters(), key=lambda named: float(square_sum(named[1].grad.reshape(-1))))
    return (
        f"no number in it is NaN or infinite, but the squares of its gradients overflow; the largest is that of {name}"
    )


def likely_causes(trainer, step: int) -> str:
    """What to try, the most promising first, for trouble with the parameters that `step` steps have made."""
    config, lr = trainer.config, trainer.lr_at(max(step - 1, 0))
    rate = lower_rate(config.lr, trainer.model.n_parameters())
    causes = [f"a learning rate too high (it was {lr:.2g}: try --lr {brief(rate)})"]
    if not config.grad_clip:
        causes.append("gradients that are not clipped (--grad_clip 0)")
    if not config.warmup:
        causes.append("no warmup (--warmup_steps 0)")
    if config.dtype != "float64":
        causes.append(f"numbers too large for {config.dtype}")
    return "likely causes: " + ", ".join(causes)
