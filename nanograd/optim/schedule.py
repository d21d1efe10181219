"""The learning rate over a run: a linear warmup, then half a cosine down to `min_lr`."""

import math


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
    if step >= max(1, max_steps - 1):
        return min_lr
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    highest = max(0, warmup_steps - 1)  # the last step at `lr`
    progress = (step - highest) / max(1, max_steps - 1 - highest)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2
