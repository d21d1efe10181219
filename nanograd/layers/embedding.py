"""Embeddings: a table of vectors, read by token id, by position, and, transposed, as the output head.

Embedding, for the id at each position n of the batch:

    y_n = weight[ids_n]

It is a linear layer whose input is a one-hot row: y_n = onehot(ids_n) weight, so dweight = onehot(ids)^T dy.

Backward: row v of the table was read at every position whose id is v, and each reading adds its gradient:

    dweight[v] = sum over n with ids_n = v of dy_n

Repeated ids must add up, which `dweight[ids] += dy` does not do: for a repeated index NumPy keeps one of the
writes. So the positions are sorted by id and summed segment by segment.

PositionEmbedding, the same for a row that depends on the position t in the sequence, b in the batch:

    y_bt = x_bt + weight[t]              dx = dy         dweight[t] = sum_b dy_bt

LMHead scores every token of the vocabulary by its dot product with the table's rows:

    logits = x weight^T                  dx = dlogits weight         dweight = dlogits^T x

It may share its table with the Embedding ("tied" weights, Press & Wolf 2017, https://arxiv.org/abs/1608.05859);
both gradients then add up in the one parameter.
"""

import numpy as np

from nanograd.device.device import Device, fused
from nanograd.device.elementwise import add
from nanograd.device.parameter import Parameter
from nanograd.device.reductions import add_positions
from nanograd.layers.layer import Layer


@fused
def gather_rows(table, ids, y):
    """y[n] = table[ids[n]], for ids in the table."""
    np.take(table, ids, axis=0, out=y, mode="clip")  # mode "raise" would copy y


@fused
def scatter_add_rows(grad, ids, dy, atomics=False):
    """grad[ids[n]] += dy[n] for every n, repeated ids adding up: in a fixed order, but on a GPU with `atomics`."""
    narrow = ids.astype(np.uint16) if len(grad) <= 65536 else ids  # 16 bits are sorted by radix
    order = np.argsort(narrow, kind="stable")
    ids = ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    grad[ids[starts]] += np.add.reduceat(dy[order], starts, axis=0)


class Embedding(Layer):
    """A table of `n` vectors of `dim` channels: `weight` (n, dim), normal with standard deviation `std`.

    Raises TypeError for ids that are no integers, ValueError for one outside the table; `checked` says that they have
    been checked, which on a GPU saves a wait.
    """

    def __init__(self, n: int, dim: int, *, device: Device, std: float = 0.02, stream: int = 0):
        self.device = device
        self.weight = Parameter(device.normal((n, dim), std, stream))

    def forward(self, ids, checked: bool = False):  # (...) integers -> (..., dim)
        if not checked:
            ids = self.device.ids(ids, below=len(self.weight.value))
        self.remember(ids)
        shape = (*ids.shape, self.weight.shape[1])
        y = self.buffer("y", shape, like=self.device.example(self.weight.value))
        gather_rows(self.weight.value, ids, y)
        return y

    def backward(self, dy) -> None:  # (..., dim) -> nothing: ids have no gradient
        ids = self.recall()
        self.expect_shape("dy", dy, (*ids.shape, self.weight.shape[1]))
        dy2 = dy.reshape(-1, dy.shape[-1])
        scatter_add_rows(self.weight.grad, ids.reshape(-1), dy2, self.device.atomics)


class PositionEmbedding(Layer):
    """Adds to position t the vector `weight[t]`, of a table (n, dim) that is normal with standard deviation `std`."""

    def __init__(self, n: int, dim: int, *, device: Device, std: float = 0.02, stream: int = 0):
        self.weight = Parameter(device.normal((n, dim), std, stream))

    def forward(self, x):  # (B, T, dim) -> (B, T, dim)
        n, dim = self.weight.shape
        if x.ndim != 3 or x.shape[1] > n or x.shape[2] != dim:
            raise ValueError(f"PositionEmbedding: x has shape {x.shape}, expected (B, T, {dim}) with T at most {n}")
        self.remember(x.shape)
        y = self.buffer("y", like=x)
        add(x, self.weight.value[: x.shape[1]], y)
        return y

    def backward(self, dy):  # (B, T, dim) -> (B, T, dim), dy itself
        B, T, dim = shape = self.recall()
        self.expect_shape("dy", dy, shape)
        add_positions(dy.reshape(B, T * dim), self.weight.grad[:T].reshape(T * dim))
        return dy


class LMHead(Layer):
    """Scores x weight^T for a vocabulary of `n`; `weight` (n, dim) is its own, or `tied` to an Embedding's."""

    def __init__(
        self,
        n: int,
        dim: int,
        *,
        device: Device,
        tied: Embedding | None = None,
        std: float = 0.02,
        stream: int = 0,
    ):
        self.device = device
        self.weight = tied.weight if tied else Parameter(device.normal((n, dim), std, stream))

    def forward(self, x):  # (..., dim) -> (..., n)
        n, dim = self.weight.shape
        self.expect_shape("x", x, (*x.shape[:-1], dim))
        weight = self.cast_parameter(self.weight, like=x)
        self.remember(x, weight)
        logits = self.buffer("logits", (*x.shape[:-1], n), like=x)
        self.device.matmul(x.reshape(-1, dim), weight.T, logits.reshape(-1, n))
        return logits

    def backward(self, dlogits):  # (..., n) -> (..., dim)
        n, dim = self.weight.shape
        x, weight = self.recall()
        self.expect_shape("dlogits", dlogits, (*x.shape[:-1], n))
        dlogits2 = dlogits.reshape(-1, n)
        self.weight.add_product(self.device, dlogits2.T, x.reshape(-1, dim))
        dx = self.scratch("dx", x.shape, like=dlogits)
        self.device.matmul(dlogits2, weight, dx.reshape(-1, dim))
        return dx
