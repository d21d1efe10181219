"""How long an all-reduce takes on a network, and what is left of K ranks' speed.

Hockney's model (1994): a message of n bytes takes alpha + n / bandwidth seconds. Built from such messages, an
all-reduce of n bytes over K ranks takes

    ring    2 (K - 1) alpha  +  2 (K - 1)/K  n / bandwidth        every rank sends 2 (K - 1) messages of n/K bytes
    tree    2 log2(K) alpha  +  2 n / bandwidth                   two trees at once, each for half of the bytes

The ring moves as few bytes as can be (Patarasuk & Yuan 2009); the double binary tree (Sanders, Speck & Träff 2009)
pays for fewer messages with a few more bytes. MPI libraries and NCCL choose among such; so does `all_reduce_seconds`.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Network:
    """`alpha`: seconds a message takes however short; `bandwidth`: bytes a second that a rank sends and receives."""

    name: str
    alpha: float
    bandwidth: float


# Nominal bandwidths; latencies of the order that such networks are measured at between two hosts, MPI or NCCL included.
NETWORKS = (
    Network("10 Gb/s Ethernet, TCP", 30e-6, 1.25e9),
    Network("100 Gb/s InfiniBand", 2e-6, 12.5e9),
    Network("400 Gb/s InfiniBand", 2e-6, 50e9),
)


def ring_seconds(n_bytes: float, ranks: int, network: Network) -> float:
    return 2 * (ranks - 1) * network.alpha + 2 * (ranks - 1) / ranks * n_bytes / network.bandwidth


def tree_seconds(n_bytes: float, ranks: int, network: Network) -> float:
    return 2 * math.ceil(math.log2(ranks)) * network.alpha + (2 * n_bytes / network.bandwidth if ranks > 1 else 0)


def all_reduce_seconds(n_bytes: float, ranks: int, network: Network) -> float:
    """The time of the faster of the two ways."""
    return min(ring_seconds(n_bytes, ranks, network), tree_seconds(n_bytes, ranks, network))


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step and of its communication; efficiency: the share of `ranks` times one rank's speed. The
    second one is for communication that runs beside backward, as far as that goes."""

    communication: float
    step: float
    efficiency: float
    overlapped_efficiency: float


def predict(compute: float, n_bytes: float, ranks: int, network: Network) -> Prediction:
    """What becomes of a step of `compute` seconds when `ranks` of them exchange gradients of `n_bytes`.

    Two thirds of a step are backward; communication can hide behind those and no more.
    """
    communication = all_reduce_seconds(n_bytes, ranks, network)
    overlapped = compute + max(0.0, communication - compute * 2 / 3)
    step = compute + communication
    return Prediction(communication, step, compute / step, compute / overlapped)


def fit(n_bytes, seconds, ranks: int) -> Network:
    """The network of a ring that took `seconds` (N,) for all-reduces of `n_bytes` (N,), by least squares of the
    relative errors, neither of the two below zero."""
    n_bytes, seconds = np.asarray(n_bytes, dtype=float), np.asarray(seconds, dtype=float)
    columns = np.stack([np.full_like(n_bytes, 2 * (ranks - 1)), 2 * (ranks - 1) / ranks * n_bytes], axis=1)
    (alpha, inverse), *_ = np.linalg.lstsq(columns / seconds[:, None], np.ones_like(seconds), rcond=None)
    return Network("fitted", max(alpha, 0.0), 1 / max(inverse, 1e-15))
