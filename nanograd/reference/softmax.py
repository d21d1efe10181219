"""Softmax: scores to probabilities, over the last axis.

    p_i = exp(s_i) / z        z = sum_k exp(s_k)

Backward. s_j is in the numerator of p_j and in the z of every p_i. By the quotient rule, with ∂z/∂s_j = exp(s_j):

    ∂p_j/∂s_j = exp(s_j) / z - exp(s_j) exp(s_j) / z^2 = p_j - p_j p_j
    ∂p_i/∂s_j =              - exp(s_i) exp(s_j) / z^2 =     - p_i p_j        for i ≠ j

These are the Jacobian, p_i ([i = j] - p_j) with [i = j] for 1 where i = j, else 0. The chain rule sums them:

    ds_j = sum_i dp_i p_i ([i = j] - p_j) = p_j (dp_j - sum_i p_i dp_i)

Subtracting the maximum c changes nothing, exp(s - c) / sum exp(s - c) = exp(s) / sum exp(s), but exp cannot overflow.
"""

import numpy as np


def softmax(s):  # (..., K) -> (..., K)
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(dp, s):
    p = softmax(s)
    return p * (dp - (p * dp).sum(-1, keepdims=True))
