"""exp for softmax, without overflow.

Softmax does not change when a constant is subtracted from all scores of a row:

    softmax(s)_j = exp(s_j) / sum_k exp(s_k) = exp(s_j - c) / sum_k exp(s_k - c)

With c the row's maximum no exponent is above 0, so nothing overflows, and the largest term is 1, so the sum
never underflows. Where all scores of the array are small to begin with, c = 0 does as well, and two quick
passes that find this out replace two slow ones that look for every row's maximum and subtract it.
"""

import numpy as np

SMALL = 20.0  # exp(±20) is 5e8 and 2e-9: far from the limits of float32, also when multiplied by gradients


def row_shift(scores):  # (..., K) -> (..., 1) or None
    """A constant for each row that makes exp(scores - constant) safe; None where zero is safe for all rows."""
    if scores.size and scores.max().real < SMALL and scores.min().real > -SMALL:
        return None
    return scores.max(-1, keepdims=True)


def exp_rows(scores, e):  # (..., K), (..., K) -> (..., 1) or None
    """e = exp(scores - shift), for a shift that makes it safe; returns the shift. `e` may be `scores`."""
    shift = row_shift(scores)
    if shift is None:
        np.exp(scores, out=e)
    else:
        np.subtract(scores, shift, out=e)
        np.exp(e, out=e)
    return shift
