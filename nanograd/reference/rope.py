"""RoPE: the position of a query or key as a rotation (Su et al. 2021). In place of learned position vectors.

The D channels of a head form D/2 pairs, here channel i with channel i + D/2 (as in Hugging Face's Llama). At position t
the pair (a, b) is turned by the angle φ = t f_i, with f_i = theta^(-2i/D):

    a' = a cos φ - b sin φ
    b' = b cos φ + a sin φ

Turning both of two vectors by one angle leaves their dot product as it was, so q_s . k_t depends on s - t alone.

Backward: ∂a'/∂a = cos φ and ∂b'/∂a = sin φ, so da = da' cos φ + db' sin φ; likewise db = db' cos φ - da' sin φ. That is
the rotation by -φ.
"""

import numpy as np


def angles(T, D, theta=10000.0):  # -> (T, D/2)
    return np.arange(T)[:, None] * theta ** (-2.0 * np.arange(D // 2) / D)


def rotate(x, phi):  # (..., T, D), (T, D/2) -> (..., T, D)
    a, b = np.split(x, 2, axis=-1)  # (..., T, D/2) each
    return np.concatenate([a * np.cos(phi) - b * np.sin(phi), b * np.cos(phi) + a * np.sin(phi)], axis=-1)


def rotate_backward(dy, x, phi):
    return rotate(dy, -phi)
