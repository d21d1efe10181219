"""Embedding: row ids_n of a table, for every position n. It is a linear layer whose input is a one-hot row:

    y_n = onehot(ids_n) weight = weight[ids_n]

So dweight is x^T dy with x the one-hot rows: row v of the table gets the dy of every position whose id is v, and those
of ids that occur several times add up. Ids are no real numbers: they have no gradient.
"""

import numpy as np

from nanograd.reference.linear import rows


def embedding(ids, weight):  # (...) ids, (V, C) -> (..., C)
    return weight[ids]


def embedding_backward(dy, ids, weight):
    onehot = np.eye(len(weight))[ids.reshape(-1)]  # (N, V)
    return onehot.T @ rows(dy)  # (V, C)
