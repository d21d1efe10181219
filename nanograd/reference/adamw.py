"""AdamW, clipping by the global norm, and the learning rate over a run.

AdamW (Loshchilov & Hutter 2019), for step t = 1, 2, …; g is the gradient, m and v begin at 0:

    m = beta1 m + (1 - beta1) g                    a moving average of the gradient: which way
    v = beta2 v + (1 - beta2) g^2                  a moving average of its square: how large, so far
    mhat = m / (1 - beta1^t), vhat likewise        both began at 0 and are too small by this factor at first
    p = p - lr wd p - lr mhat / (sqrt(vhat) + eps)

The step of a parameter is about lr, however large its gradient. wd, the weight decay, is for matrices only.
"""

import math

import numpy as np


def clip_gradients(grads, max_norm):  # {name: gradient} -> the same, and their common norm before
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: g * min(1.0, max_norm / (norm + 1e-6)) for name, g in grads.items()}, norm


def adamw(p, g, m, v, t, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01):  # arrays of one shape -> new p, m, v
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mhat, vhat = m / (1 - beta1**t), v / (1 - beta2**t)
    decay = weight_decay if p.ndim >= 2 else 0.0
    return p - lr * decay * p - lr * mhat / (np.sqrt(vhat) + eps), m, v


def learning_rate(step, lr, min_lr, warmup_steps, max_steps):  # step 0, 1, … -> a number
    """Up along a line for `warmup_steps`, then down along half a cosine to `min_lr` at the last step."""
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step + 1 - warmup_steps) / (max_steps - warmup_steps)  # 0 … 1
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2
