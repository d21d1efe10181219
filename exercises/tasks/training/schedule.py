import math


def learning_rate(step, lr, min_lr, warmup_steps, max_steps):
    """The rate of step 0, 1, ... max_steps - 1."""
    # <<<
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step + 1 - warmup_steps) / (max_steps - warmup_steps)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2
    # >>>
