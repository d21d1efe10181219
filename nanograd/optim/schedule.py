"""The learning rate over a run: a linear warmup, and then one of

cosine      half a cosine down to `min_lr` (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983)
wsd         warmup, stable, decay: flat, and over the last `decay_share` of the steps a line down to `min_lr`
            (Hu et al. 2024, https://arxiv.org/abs/2404.06395); how long a run is need not be known until it decays
constant    flat to the end
"""

import math


def check_counts(step: int, warmup_steps: int) -> None:
    """Raise ValueError for a number of steps that is negative."""
    for name, value in (("step", step), ("warmup_steps", warmup_steps)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, not {value}")


def warmup_cosine(step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """The rate of `step`, counted from 0.

    Rises as lr * (step + 1) / warmup_steps, so the first step already learns; reaches `lr` at the last step of the
    warmup, or at step 0 where there is none; then falls along a cosine to `min_lr` at step max_steps - 1, and stays
    there. A run of one step is at `lr`.

    >>> [round(warmup_cosine(s, lr=1.0, min_lr=0.0, warmup_steps=2, max_steps=5), 3) for s in range(5)]
    [0.5, 1.0, 0.75, 0.25, 0.0]
    >>> [round(warmup_cosine(s, lr=1.0, min_lr=0.0, warmup_steps=0, max_steps=3), 3) for s in range(3)]
    [1.0, 0.5, 0.0]
    """
    check_counts(step, warmup_steps)
    if max_steps == 1 and step == 0:
        return lr
    if step >= max_steps - 1:
        return min_lr
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    highest = max(0, warmup_steps - 1)  # the last step at `lr`
    progress = (step - highest) / (max_steps - 1 - highest)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def warmup_stable_decay(
    step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int, decay_share: float
) -> float:
    """The rate of `step`, counted from 0: rises as for the cosine, stays at `lr`, over the last `decay_share` of the
    steps falls in equal steps to `min_lr`, which the last one has. With a `decay_share` of 0 it never falls. A run of
    one step is at `lr`.

    >>> [warmup_stable_decay(s, lr=1.0, min_lr=0.0, warmup_steps=2, max_steps=8, decay_share=0.5) for s in range(8)]
    [0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    check_counts(step, warmup_steps)
    if max_steps == 1 and step == 0:
        return lr
    decay_steps = min(round(decay_share * max_steps), max_steps - 1)
    rise = lr * (step + 1) / warmup_steps if step < warmup_steps else lr
    left = max(0, max_steps - 1 - step)  # steps after this one
    fall = min_lr + (lr - min_lr) * left / decay_steps if left < decay_steps else lr
    return min(rise, fall)
