"""Causal multi-head self-attention: each position gathers values from itself and the positions before it.

One head, T positions, D channels, with s = 1 / sqrt(D) (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762):

    S_ij = s q_i . k_j for j <= i, minus infinity for j > i
    P_ij = E_ij / z_i        E_ij = exp(S_ij)        z_i = sum_j E_ij
    o_i  = sum_j P_ij v_j  = (sum_j E_ij v_j) / z_i

Only E and z are kept: dividing the (T, D) output by z is cheaper than dividing the (T, T) weights.

Backward. From o = P v:

    dv_j = sum_i P_ij do_i               dP_ij = do_i . v_j

(do_i is the gradient of the loss by o_i, and so on: a matrix product o = P v gives each factor a gradient, as in
linear.py.) Softmax, of one row: S_ij is in the numerator of P_ij and in the sum z_i below every P_ik. By the quotient
rule, with [j = k] for 1 where j = k and 0 elsewhere,

    ∂P_ik/∂S_ij = (E_ik [j = k] z_i - E_ik E_ij) / z_i^2 = P_ik ([j = k] - P_ij)

and by the chain rule, summing over all k that S_ij acts on,

    dS_ij = sum_k dP_ik P_ik ([j = k] - P_ij) = P_ij (dP_ij - sum_k P_ik dP_ik)

where the sum needs no (T, T) array, because sum_k P_ik (do_i . v_k) = do_i . o_i. Write g_i = do_i / z_i; then

    dv_j = sum_i E_ij g_i                dS_ij = E_ij (g_i . v_j  -  g_i . o_i)

Last, S = q (s k)^T:

    dq_i = sum_j s dS_ij k_j             dk_j = sum_i s dS_ij q_i

So s is applied twice: to the scores on the way forward, and to dS on the way back, before both of its products.

With dropout the weights are P * m, for a mask m as in dropout.py: o = (P * m) v, dv_j = sum_i E_ij m_ij g_i,
and dS_ij = E_ij (m_ij g_i . v_j  -  g_i . o_i).

With grouped heads (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245) there are K heads of keys and values, fewer
than the H of queries: H / K heads in a row share one. Each computes as above, and what is shared gets the sum of the
gradients of all that share it. K = 1 is multi-query attention.

Rows are taken in blocks, and a block looks only at keys up to its own last row: what the causal mask would
throw away above the diagonal is, for long sequences, mostly never computed.
"""

import functools
import math

import numpy as np

from nanograd.device.device import Device, fused, fused_layer, xp_of
from nanograd.device.reductions import add_positions, dot_channels, sum_channels
from nanograd.device.rng import RNG
from nanograd.layers.dropout import Dropout
from nanograd.layers.layer import Layer
from nanograd.layers.linear import Linear
from nanograd.layers.residual import ResidualLinear
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.softmax import all_small, exp_rows

BLOCK = 64  # rows of attention computed at a time


@functools.lru_cache(maxsize=16)
def causal_mask(n: int, dtype):  # -> (n, n)
    """0 on and below the diagonal, minus infinity above it."""
    return np.triu(np.full((n, n), -np.inf, dtype=np.float64), 1).astype(dtype)


@fused
def masked_exp(scores):  # (..., R, K), queries the last R of K positions -> (..., R, 1)
    """Turn scores into E, in place; returns z."""
    rows, keys = scores.shape[-2:]
    small = all_small(scores)
    if rows > 1:
        scores[..., keys - rows :] += causal_mask(rows, scores.dtype)
    exp_rows(scores, scores, small)
    return sum_channels(scores)[..., None]


@fused
def masked_exp_backward(dscores, e, delta, mask):  # (..., R, K), (..., R, K), (..., R, 1), (..., R, K) or None
    """Turn the products g . v into dS = E * (m * (g . v) - g . o), in place; `delta` is g . o."""
    if mask is not None:
        dscores *= mask
    dscores -= delta
    dscores *= e


def shared_matmul(a, b, out) -> None:  # (B, H, R, X), (B, K, X, Y), (B, H, R, Y)
    """out = a @ b, each head of `b` with the H / K heads of `a` that share it."""
    B, K = b.shape[:2]
    a, out = (array.reshape(B, K, array.shape[1] // K, *array.shape[2:]) for array in (a, out))  # views
    xp_of(a).matmul(a, b[:, :, None], out=out)


class Attention(Layer):
    """The part of self-attention without parameters: queries, keys and values side by side -> (B, T, H D).

    `n_head` heads of queries, and as many of keys and values or `n_kv_head` of them: qkv is (B, T, 3 H D), or
    (B, T, (H + 2K) D). On a GPU `tf32` lets the products of float32 be rounded to TF32.
    """

    def __init__(
        self,
        n_head: int,
        dropout: Dropout | None = None,
        tf32: bool = False,
        n_kv_head: int | None = None,
        *,
        device: Device | None = None,
    ):
        self.n_head, self.n_kv_head, self.tf32 = n_head, n_kv_head or n_head, tf32
        if n_head % self.n_kv_head:
            raise ValueError(f"Attention: n_head {n_head} is not a multiple of n_kv_head {n_kv_head}")
        self.dropout = dropout or Dropout(0.0, device=device)

    def split(self, qkv):  # (B, T, (H + 2K) D) -> views (B, H, T, D), (B, K, T, D), (B, K, T, D)
        H, K = self.n_head, self.n_kv_head
        if qkv.ndim != 3 or qkv.shape[2] % (H + 2 * K):
            expected = f"3C), C a multiple of {H}" if H == K else f"({H} + 2 * {K}) D)"
            raise ValueError(f"Attention: qkv has shape {qkv.shape}, expected (B, T, {expected}")
        B, T, channels = qkv.shape
        heads = qkv.reshape(B, T, H + 2 * K, channels // (H + 2 * K)).swapaxes(1, 2)
        return heads[:, :H], heads[:, H : H + K], heads[:, H + K :]

    @fused_layer("attention_forward")
    def forward(self, qkv):  # (B, T, (H + 2K) D) -> (B, T, H D)
        xp = xp_of(qkv)
        q, k, v = self.split(qkv)
        B, H, T, D = q.shape
        o = self.buffer("o", (B, T, H, D), like=qkv)
        z = self.buffer("z", (B, H, T, 1), like=qkv)
        blocks = []
        for start in range(0, T, BLOCK):
            stop = min(start + BLOCK, T)
            e = self.buffer(f"e{start}", (B, H, stop - start, stop), like=qkv)
            shared_matmul(q[:, :, start:stop], k[:, :, :stop].swapaxes(2, 3), e)
            e *= 1 / math.sqrt(D)
            z[:, :, start:stop] = masked_exp(e)
            mask = self.dropout.mask(f"mask{start}", e.shape, like=e)
            weights = e if mask is None else xp.multiply(e, mask, out=self.dropout.buffer(f"y{start}", like=e))
            shared_matmul(weights, v[:, :, :stop], o[:, start:stop].swapaxes(1, 2))
            blocks.append((start, stop, e, mask, weights))
        o /= z.swapaxes(1, 2)
        self.remember(q, k, v, o, z, blocks)
        return o.reshape(B, T, H * D)

    @fused_layer("attention_backward")
    def backward(self, dy, dbias=None):  # (B, T, H D) -> (B, T, (H + 2K) D)
        """`dbias`: to what the gradient of a bias of qkv is added (`Parameter.accumulator`), where there is one."""
        q, k, v, o, z, blocks = self.recall()
        B, H, T, D = q.shape
        self.expect_shape("dy", dy, (B, T, H * D))
        dqkv = self.scratch("dqkv", (B, T, (H + 2 * self.n_kv_head) * D), like=dy)
        dq, dk, dv = self.split(dqkv)
        g = self.scratch("g", (B, H, T, D), like=dy)
        xp_of(dy).divide(dy.reshape(B, T, H, D).swapaxes(1, 2), z, out=g)
        delta = dot_channels(g, o.swapaxes(1, 2))[..., None]  # (B, H, T, 1)
        for start, stop, e, mask, weights in reversed(blocks):
            g_rows = g[:, :, start:stop]
            ds = self.scratch("ds", e.shape, like=dy)
            shared_matmul(g_rows, v[:, :, :stop].swapaxes(2, 3), ds)
            masked_exp_backward(ds, e, delta[:, :, start:stop], mask)
            ds *= 1 / math.sqrt(D)
            shared_matmul(ds, k[:, :, :stop], dq[:, :, start:stop])
            self._add_keys(dv, stop, weights, g_rows)
            self._add_keys(dk, stop, ds, q[:, :, start:stop])
        if dbias is not None:
            add_positions(dqkv.reshape(B * T, -1), dbias)
        return dqkv

    def _add_keys(self, total, stop, weights, rows) -> None:  # (B, K, T, D), number, (B, H, R, stop), (B, H, R, D)
        """total[:, :, :stop] += weights^T @ rows, over all the rows of the heads that share one of `total`.

        The last block reaches all keys, comes first, and is written, not added.
        """
        B, K, _, D = total.shape
        a, b = weights.reshape(B, K, -1, stop).swapaxes(2, 3), rows.reshape(B, K, -1, D)
        part = total[:, :, :stop]
        if stop == total.shape[2]:
            xp_of(total).matmul(a, b, out=part)
        else:
            part += xp_of(total).matmul(a, b, out=self.scratch("part", part.shape, like=total))


class CausalSelfAttention(Layer):
    """GPT-2's attention: c_attn makes queries, keys and values; the heads' outputs go through c_proj.

    `n_embd` must be a multiple of `n_head`. `dropout` applies to the attention weights and to the output.

    What later models do otherwise: `n_kv_head` heads of keys and values, a divisor of `n_head`; heads of `head_dim`
    channels, whatever `n_embd` is; `rope`, which rotates queries and keys by their positions; before it `qk_norm`, two
    norms over the channels of a head, of its queries and of its keys. Columns of c_attn: q, then k, then v.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        *,
        device: Device,
        dropout: float = 0.0,
        rng: RNG | None = None,
        bias: bool = True,
        qkv_bias: bool = False,
        proj_std: float = 0.02,
        stream: int = 0,
        n_kv_head: int | None = None,
        head_dim: int | None = None,
        rope: RoPE | None = None,
        qk_norm: tuple[RMSNorm, RMSNorm] | None = None,
    ):
        if head_dim is None and n_embd % n_head:
            raise ValueError(f"n_embd {n_embd} is not a multiple of n_head {n_head}")
        if n_kv_head and n_head % n_kv_head:
            raise ValueError(f"n_head {n_head} is not a multiple of n_kv_head {n_kv_head}")
        rng = rng or RNG(device.seed)
        K, D = n_kv_head or n_head, head_dim or n_embd // n_head
        self.c_attn = Linear(n_embd, (n_head + 2 * K) * D, qkv_bias, device=device, stream=stream)
        self.c_attn.weight.widths = n_head * D, K * D, K * D
        self.q_norm, self.k_norm = qk_norm or (None, None)
        self.rope = rope
        self.heads = Attention(n_head, Dropout(dropout, device=device, rng=rng), device.precision == "tf32", K)
        end = Dropout(dropout, device=device, rng=rng)
        settings = {"device": device, "std": proj_std, "stream": stream + 1}
        self.c_proj = ResidualLinear(n_head * D, n_embd, bias, dropout=end, scratch_output=True, **settings)

    def forward(self, x, residual=None):  # (B, T, C) -> (B, T, C)
        """With `residual`, an array like x: residual + what it is without."""
        return self.c_proj(self.heads(self.queries_keys_values(x)), residual)

    def queries_keys_values(self, x, start: int = 0):  # (B, T, C) -> (B, T, (H + 2K) D)
        """What the heads are given, of positions from `start`."""
        qkv = self.c_attn(x)
        if self.q_norm:
            q, k, _ = self._parts(qkv)
            self.q_norm(q, out=q)
            self.k_norm(k, out=k)
        if self.rope:
            self.rope(self._rotated(qkv), start, inplace=True)
        return qkv

    def backward(self, dy):  # (B, T, C) -> (B, T, C)
        bias = None if self.rope or self.q_norm else self.c_attn.bias
        dbias = None if bias is None else bias.accumulator
        dqkv = self.heads.backward(self.c_proj.backward(dy), dbias=dbias)
        if self.rope:
            self.rope.backward(self._rotated(dqkv), inplace=True)
        if self.q_norm:
            dq, dk, _ = self._parts(dqkv)
            self.q_norm.backward(dq, out=dq)
            self.k_norm.backward(dk, out=dk)
        return self.c_attn.backward(dqkv, add_bias=dbias is None)

    def _parts(self, qkv):  # (B, T, (H + 2K) D) -> views (B, T, H, D), (B, T, K, D), (B, T, K, D)
        return (part.swapaxes(1, 2) for part in self.heads.split(qkv))

    def _rotated(self, qkv):  # (B, T, (H + 2K) D) -> a view of queries and keys, (B, T, H + K, D)
        q, k, _ = self._parts(qkv)
        B, T, H, D = q.shape
        return qkv.reshape(B, T, -1, D)[:, :, : H + k.shape[2]]
