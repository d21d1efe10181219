"""Loss spikes: a step whose loss stands out from those before it.

A running mean and variance of the loss, over about the last 50 steps,

    mean = (1 - a) mean + a loss            variance = (1 - a) (variance + a (loss - mean)^2)           a = 1/50

say what is usual. A loss is a spike if it is above mean + max(10 standard deviations, 0.3 nats). Noise alone does not
get there: in batches of two windows of 16 letters of Alice, 6000 of them, the worst stands out by 8 to 10 standard
deviations, and larger batches stay below 6. While a model learns, the mean lags behind, above the losses, which widens
the gap. A spike enters the mean as if it were on the border, so that one step does not move what is usual, and a loss
that stays high becomes usual; until it has come down, or has become usual, it is reported once.
"""

import math

MEMORY = 50  # steps
DEVIATIONS = 10
LEAST = 0.3  # nats


class LossSpikes:
    """Watches the losses of a run, one `update` a step. The state is three numbers, kept in checkpoints."""

    def __init__(self):
        self.count, self.mean, self.variance, self.high = 0, 0.0, 0.0, False

    def update(self, loss: float) -> float | None:
        """Take note of a step's loss. If a spike begins with it, returns the loss that was usual, else None."""
        loss, usual = float(loss), self.mean
        border = usual + max(DEVIATIONS * math.sqrt(self.variance), LEAST)
        spike = self.count >= MEMORY and loss > border
        begins, self.high = spike and not self.high, spike
        loss = min(loss, border) if self.count >= MEMORY else loss
        self.count += 1
        weight = max(1 / self.count, 1 / MEMORY)
        difference = loss - usual
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
        return usual if begins else None

    def state_dict(self) -> dict:
        return vars(self).copy()

    def load_state_dict(self, state: dict) -> None:
        """Raises ValueError if that is no state of this."""
        kinds = {name: type(value) for name, value in vars(self).items()}
        if not isinstance(state, dict) or {name: type(value) for name, value in state.items()} != kinds:
            raise ValueError("the statistics of the loss are missing or of the wrong kind")
        vars(self).update(state)
