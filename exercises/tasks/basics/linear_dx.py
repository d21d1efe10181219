import numpy as np

from nanograd import Layer, Parameter


def rows(x):  # (..., C) -> (N, C): all positions below one another
    return x.reshape(-1, x.shape[-1])


class Linear(Layer):
    def __init__(self, n_in, n_out):
        self.weight = Parameter(np.zeros((n_in, n_out)))
        self.bias = Parameter(np.zeros(n_out))

    def forward(self, x):  # (..., n_in) -> (..., n_out)
        self.remember(x)
        return x @ self.weight.value + self.bias.value

    def backward(self, dy):  # (..., n_out) -> (..., n_in)
        x = self.recall()
        self.weight.grad += rows(x).T @ rows(dy)
        self.bias.grad += rows(dy).sum(0)
        # <<<
        return dy @ self.weight.value.T
        # >>>
