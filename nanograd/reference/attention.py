"""Causal self-attention: each position gathers values from itself and the positions before it.

One head (Vaswani et al. 2017): q_i asks, k_j answers, and v_j is what is passed on if they match. Backward undoes each
line, the last one first; as in linear.py both factors of a product receive a gradient.

    S = q k^T / sqrt(D)        dq = dS k / sqrt(D)      dk = dS^T q / sqrt(D)     S_ij = -inf where j > i: the future
    P = softmax(S)             dS = P * (dP - sum_k P_ik dP_ik)                   row by row; 0 where P is 0
    o = P v                    dP = do v^T              dv = P^T do

The causal mask has no derivative of its own: it is a constant that was added.

With several heads the C channels are cut into H pieces of D, and each head works on its own. One linear map makes q, k
and v of all heads, another mixes what the heads found. Where several heads of queries share one of keys and values
(grouped heads, Ainslie et al. 2023), the shared one gets the sum of their gradients.
"""

import math

import numpy as np

from nanograd.reference.linear import linear, linear_backward
from nanograd.reference.softmax import softmax, softmax_backward


def scores(q, k):  # (..., T, D), (..., T, D) -> (..., T, T)
    T, D = q.shape[-2:]
    past = np.tril(np.ones((T, T), dtype=bool))  # past[i, j]: j <= i
    return np.where(past, q @ k.mT / math.sqrt(D), -np.inf)


def attention(q, k, v):  # (..., T, D) each -> (..., T, D)
    P = softmax(scores(q, k))  # (..., T, T)
    return P @ v


def attention_backward(do, q, k, v):
    S, D = scores(q, k), q.shape[-1]  # S (..., T, T)
    P = softmax(S)  # (..., T, T)
    dP = do @ v.mT  # (..., T, T)
    dv = P.mT @ do  # (..., T, D)
    dS = softmax_backward(dP, S)  # (..., T, T)
    dq = dS @ k / math.sqrt(D)  # (..., T, D)
    dk = dS.mT @ q / math.sqrt(D)  # (..., T, D)
    return dq, dk, dv


def split_heads(x, n_head):  # (B, T, C) -> (B, H, T, D)
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)


def merge_heads(x):  # (B, H, T, D) -> (B, T, C), the inverse of split_heads and also its backward
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def share_heads(x, n):  # (B, K, T, D) -> (B, K n, T, D): each head n times
    return np.repeat(x, n, axis=1)


def share_heads_backward(dy, x, n):
    B, K, T, D = x.shape
    return dy.reshape(B, K, n, T, D).sum(2)


def queries_keys_values(x, W_qkv, n_head):  # (B, T, C), (C, 3C) -> three (B, H, T, D)
    return [split_heads(part, n_head) for part in np.split(x @ W_qkv, 3, axis=-1)]


def self_attention(x, W_qkv, W_proj, b_proj, n_head):  # (B, T, C), (C, 3C), (C, C), (C,) -> (B, T, C)
    return linear(merge_heads(attention(*queries_keys_values(x, W_qkv, n_head))), W_proj, b_proj)


def self_attention_backward(dy, x, W_qkv, W_proj, b_proj, n_head):
    q, k, v = queries_keys_values(x, W_qkv, n_head)
    do, dW_proj, db_proj = linear_backward(dy, merge_heads(attention(q, k, v)), W_proj, b_proj)
    dqkv = attention_backward(split_heads(do, n_head), q, k, v)  # three (B, H, T, D)
    dx, dW_qkv, _ = linear_backward(np.concatenate([merge_heads(d) for d in dqkv], axis=-1), x, W_qkv)
    return dx, dW_qkv, dW_proj, db_proj
