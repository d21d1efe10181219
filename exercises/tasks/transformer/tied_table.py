import numpy as np

from nanograd import Layer, Parameter


def rows(x):  # (..., C) -> (N, C): all positions below one another
    return x.reshape(-1, x.shape[-1])


class TiedTable(Layer):
    def __init__(self, n, dim):
        self.weight = Parameter(np.zeros((n, dim)))

    def forward(self, ids):  # (...) ids -> (..., n): the same table reads the ids and scores what comes next
        x = self.weight.value[ids]
        h = np.tanh(x)
        self.remember(ids, h)
        return h @ self.weight.value.T

    def backward(self, dlogits):  # (..., n) -> nothing; adds to self.weight.grad (n, dim)
        ids, h = self.recall()
        # <<<
        self.weight.grad += rows(dlogits).T @ rows(h)
        dh = dlogits @ self.weight.value
        dx = dh * (1 - h * h)
        np.add.at(self.weight.grad, ids, dx)
        # >>>
