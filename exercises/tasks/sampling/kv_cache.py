import math

import numpy as np


def attend_next(q, k, v, keys, values):
    """Attention of one new position over all before it and itself.

    q, k, v (H, 1, D) are the new position's; keys, values (H, T, D) those of the T positions before.
    -> o (H, 1, D), and keys, values (H, T + 1, D) for the next call. The arrays given stay as they are.
    """
    # <<<
    keys = np.concatenate([keys, k], axis=1)
    values = np.concatenate([values, v], axis=1)
    S = q @ keys.mT / math.sqrt(q.shape[-1])
    e = np.exp(S - S.max(-1, keepdims=True))
    P = e / e.sum(-1, keepdims=True)
    return P @ values, keys, values
    # >>>
