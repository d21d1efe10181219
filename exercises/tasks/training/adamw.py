import numpy as np


def adamw(p, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    """Arrays of one shape, and the step t = 1, 2, ... -> the new p, m, v. The arrays given stay as they are."""
    # <<<
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    mhat = m / (1 - beta1**t)
    vhat = v / (1 - beta2**t)
    p = p - lr * weight_decay * p - lr * mhat / (np.sqrt(vhat) + eps)
    return p, m, v
    # >>>
