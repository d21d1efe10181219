"""The matrices that Muon updates: found in the parts of the arenas, shared out among workers, batched by shape."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import Any

import numpy as np

from nanograd.layers.layer import Layer
from nanograd.layers.linear import Linear
from nanograd.optim.arena import Part

BATCH = 2**17  # elements of matrices that go through the steps together: few enough for a core's own cache


@dataclass(frozen=True)
class Matrix:
    """`u` (in, out): a view of where its update is made. `v` (out,): the mean squares of its columns, or None."""

    u: Any
    v: Any

    @property
    def cost(self) -> int:
        """Operations of its Newton-Schulz steps, up to a factor."""
        m, n = sorted(self.u.shape)
        return m * m * (4 * m + n)


def linear_weights(model: Layer) -> list[str]:
    """The names of the weights of the Linear layers in `model`. Embeddings and an LMHead are no such layers."""
    weights = {id(layer.weight) for _, layer in model.named_layers() if isinstance(layer, Linear)}
    return [name for name, parameter in model.named_parameters() if id(parameter) in weights]


def matrices_of(parts: list[Part], updates: list, squares: dict) -> list[Matrix]:
    """Those of all parts. `updates`: flat arrays like the parts' values. `squares`: arrays (out,) by name, or none."""
    matrices = []
    for part, update in zip(parts, updates, strict=True):
        for name, where, parameter in part.parameters():
            u, v, end = update[where].reshape(parameter.shape), squares.get(name), 0
            for width in parameter.widths or parameter.shape[1:]:
                start, end = end, end + width
                matrices.append(Matrix(u[:, start:end], None if v is None else v[start:end]))
    return matrices


def share_out(matrices: list[Matrix], ranks: int, workers: int) -> list[list[list[Matrix]]]:
    """A list of matrices for each worker of each rank, of about equal cost. Matrices of one shape are neighbours."""
    matrices = sorted(matrices, key=lambda matrix: matrix.u.shape)
    shares, costs = [[[] for _ in range(workers)] for _ in range(ranks)], [matrix.cost for matrix in matrices]
    for matrix, end in zip(matrices, accumulate(costs), strict=True):
        number = ranks * workers * (2 * end - matrix.cost) // (2 * sum(costs))  # the share that its middle is in
        shares[number // workers][number % workers].append(matrix)
    return shares


def batches(matrices: list[Matrix]) -> Iterator[list[Matrix]]:
    """Neighbours of one shape; on a CPU no more of them than stay in its cache."""
    for (n_in, n_out), group in groupby(matrices, key=lambda matrix: matrix.u.shape):
        group = list(group)
        size = max(1, BATCH // (n_in * n_out)) if isinstance(group[0].u, np.ndarray) else len(group)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def clear(shares: Iterable[list[Matrix]]) -> None:
    """Zeros, for others to add their results to."""
    for matrix in chain.from_iterable(shares):
        matrix.u[...] = 0
        if matrix.v is not None:
            matrix.v[...] = 0
