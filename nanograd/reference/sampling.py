"""Sampling: the model's scores for the next token, one token drawn from them, and round again.

    temperature   z / t: below 1 sharper, above 1 flatter                       (probabilities are softmax(z))
    top-k         only the k likeliest tokens                                   (Fan et al. 2018)
    top-p         only the fewest tokens that together have probability p       (Holtzman et al. 2020)

A token is dropped by giving it the score minus infinity, which softmax makes 0. Of equal scores the lower id is first.
"""

import numpy as np

from nanograd.reference.model import gpt
from nanograd.reference.softmax import softmax


def top_k(z, k):  # (V,) -> (V,)
    kept = np.argsort(-z, kind="stable")[:k]
    return np.where(np.isin(np.arange(len(z)), kept), z, -np.inf)


def top_p(z, p):  # (V,) -> (V,)
    order = np.argsort(-z, kind="stable")  # (V,) ids, the likeliest first
    before = np.cumsum(softmax(z)[order]) - softmax(z)[order]  # (V,): the probability of all that are likelier
    return top_k(z, np.count_nonzero(before < p - 1e-12))  # 1e-12: sums of float64 are that good


def sample(p, ids, n_tokens, n_head, rng, temperature=1.0, k=None, top=1.0):  # ids -> ids and n_tokens more
    """`k` and `top` are those of top_k and top_p; temperature 0 takes the likeliest token each time."""
    for _ in range(n_tokens):
        logits, _ = gpt(np.array([ids[-len(p["wpe.weight"]) :]]), p, n_head)  # (1, at most T, V)
        z = logits[0, -1]  # (V,): the scores after the last token
        z = top_p(top_k(z / temperature, k or len(z)), top) if temperature else top_k(z, 1)
        cumulative = np.cumsum(softmax(z))  # (V,)
        u = rng.random() * cumulative[-1] if temperature else 0.0
        ids = [*ids, int(np.searchsorted(cumulative, u, side="right"))]
    return ids
