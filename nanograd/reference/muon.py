"""Muon: momentum, then a step in which every direction of a matrix moves equally far (Jordan et al. 2024).

A matrix U = P S Q^T (its singular value decomposition) has directions with large and with small S. Muon steps along
P Q^T, all of whose singular values are 1. An odd polynomial of a matrix acts on its singular values alone, because
X X^T = P S^2 P^T:

    (a I + b A + c A^2) X = P (a S + b S^3 + c S^5) Q^T,        A = X X^T

Divided by its norm, X has all of them in [0, 1]. Five times a polynomial that lifts small ones steeply brings nearly
all to between 0.68 and 1.21: near enough to 1 for a step, and no decomposition is computed.
"""

import math

import numpy as np


def nearly_orthogonal(u, steps=5):  # (n_in, n_out) -> (n_in, n_out)
    if u.shape[0] > u.shape[1]:
        return nearly_orthogonal(u.T, steps).T  # so that A is the smaller of the two
    X, (a, b, c) = u / np.sqrt((u**2).sum()), (3.4445, -4.7750, 2.0315)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X


def muon(W, g, m, lr, momentum=0.95, weight_decay=0.0):  # (n_in, n_out) each -> new W, m
    m = momentum * m + g
    u = g + momentum * m  # Nesterov's form: a look ahead
    size = math.sqrt(max(1, W.shape[1] / W.shape[0]))
    return W - lr * weight_decay * W - lr * size * nearly_orthogonal(u), m
