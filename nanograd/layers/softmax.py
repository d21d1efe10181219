"""exp for softmax, without overflow.

Softmax does not change when a constant is subtracted from all scores of a row:

    softmax(s)_j = exp(s_j) / sum_k exp(s_k) = exp(s_j - c) / sum_k exp(s_k - c)

With c the row's maximum no exponent is above 0, so nothing overflows, and the largest term is 1, so the sum
never underflows. Where all scores of the array are small to begin with, c = 0 does as well, and two quick
passes that find this out replace two slow ones that look for every row's maximum and subtract it.

The result does not depend on c, so no gradient goes through it. The Jacobian of softmax is derived in attention.py, the
gradient of its logarithm in cross_entropy.py.
"""

import numpy as np

SMALL = 20.0  # exp(±20) is 5e8 and 2e-9: far from the limits of float32, also when multiplied by gradients


def all_small(scores) -> bool:
    """Is exp of every score safe as it is?"""
    return scores.size > 0 and bool(scores.max().real < SMALL and scores.min().real > -SMALL)


def exp_rows(scores, e, small: bool | None = None):  # (..., K), (..., K) -> (..., 1) or None
    """e = exp(scores - shift), for a shift that makes it safe; returns the shift, None for zero.

    `e` may be `scores`. `small` is what `all_small` said, before a mask put minus infinity in.
    """
    if all_small(scores) if small is None else small:
        np.exp(scores, out=e)
        return None
    shift = scores.max(-1, keepdims=True)
    np.subtract(scores, shift, out=e)
    np.exp(e, out=e)
    return shift
