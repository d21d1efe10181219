"""Attention on a CPU over cached keys and values: one position of every sequence, or several of one in a prompt.

Keys and values lie in slots, (2, B, K, slots, D): K heads of them, each shared by G = H / K heads of queries. A query
in slot s meets the keys of slots s - window + 1 to s, of those that its sequence has.

What belongs to a position alone is multiplied into RoPE's tables: the scale 1 / sqrt(D) of the queries, and the weights
w of QK-norm. With x = w x', in the symbols of rope.py

    rotated(w x')  =  x' (w cos)  +  swapped(x') (swapped(w) sin)
"""

import functools
import math

import numpy as np

from gpt.sampling.folded import Product
from nanograd.layers.attention import BLOCK, masked_exp
from nanograd.layers.rope import swapped

SAFE = 60.0  # exp(±60) is 1e26 and 9e-27, which leaves float32 room for values of 1e12 and 1e-11 to be multiplied
FIRST_ROOM = 256  # slots that there are places for at first
TABLE = 16  # positions that a table is made for at a time


class Rotation:
    """What happens to queries and keys after their product: QK-norm and RoPE, and the scale of the queries."""

    def __init__(self, attention, scale: float, dtype):
        heads, (q_norm, k_norm) = attention.heads, (attention.q_norm, attention.k_norm)
        self.n_rotated, self.rope = heads.n_head + heads.n_kv_head, attention.rope
        D = attention.c_attn.weight.shape[1] // (heads.n_head + 2 * heads.n_kv_head)
        self.eps = q_norm.eps * D if q_norm else None
        weights = np.ones((self.n_rotated, D), dtype=dtype)
        weights[: heads.n_head] = scale
        if q_norm:
            weights *= math.sqrt(D)
            for norm, part in ((q_norm, weights[: heads.n_head]), (k_norm, weights[heads.n_head :])):
                if norm.weight is not None:
                    part *= norm.weight.value
        self.weights = weights  # (H + K, D)
        self.scales = bool((weights != 1).any())
        self._tables, self._first = None, None

    def tables(self, start: int, stop: int):  # -> twice (n, H + K, D); without RoPE None
        """The factors of queries and keys, and of their swapped pairs, at positions start, …, stop - 1."""
        if self.rope is None:
            return None
        if self._first is None or start < self._first or stop > self._first + len(self._tables[0]):
            stop_table = max(stop, start + TABLE)
            cos, sin = self.rope.tables(start, stop_table, self.weights)  # (n, 1, D)
            swap = swapped(self.weights, self.rope.layout).reshape(self.weights.shape)
            self._tables, self._first = (cos * self.weights, sin * swap), start
        part = slice(start - self._first, stop - self._first)
        return self._tables[0][part], self._tables[1][part]

    def apply(self, qk, tables) -> None:  # (..., H + K, D), tables that fit
        """Norm, rotate and scale, in place."""
        if self.eps is not None:
            qk /= np.sqrt(np.vecdot(qk, qk) + self.eps)[..., None]
        if tables is not None:
            cos, sin = tables
            pairs = swapped(qk, self.rope.layout)
            rotated = pairs * sin.reshape(*sin.shape[:-1], *pairs.shape[-2:])
            qk *= cos
            qk += rotated.reshape(qk.shape)
        elif self.scales:
            qk *= self.weights


class CachedAttention:
    """The attention of one block, with `slots` places for the keys and values of each of `batch_size` sequences.

    `scaled` says that `to_qkv` gives queries that are scaled already.
    """

    def __init__(self, attention, to_qkv: Product, batch_size: int, slots: int, window: int, scaled: bool):
        self.H, self.K = attention.heads.n_head, attention.heads.n_kv_head
        width, dtype = to_qkv.matrix.shape[1], to_qkv.matrix.dtype
        self.D = width // (self.H + 2 * self.K)
        self.to_qkv, self.window = to_qkv, window
        self.rotation = Rotation(attention, 1.0 if scaled else 1 / math.sqrt(self.D), dtype)
        self.turns = self.rotation.rope is not None or self.rotation.eps is not None or self.rotation.scales
        self.slots, self.cache = slots, np.zeros((2, batch_size, self.K, 0, self.D), dtype=dtype)
        self._make_room(min(slots, FIRST_ROOM))
        # The queries, keys and values of one position, and views of them.
        self.row = np.empty((batch_size, width), dtype=dtype)
        parts = self.row.reshape(batch_size, self.H + 2 * self.K, self.D)
        self.row_qk = parts[:, : self.H + self.K]
        self.row_q = parts[:, : self.H].reshape(batch_size, self.K, self.H // self.K, self.D)
        self.row_kv = parts[:, self.H :].reshape(batch_size, 2, self.K, self.D).swapaxes(0, 1)

    def _make_room(self, slots: int) -> None:
        """Have places for so many slots at least: twice as many as before, since most texts end long before a context
        of thousands does. Those that are not in use hold zeros, for masked slots must hold numbers."""
        before = self.cache
        room = min(self.slots, max(slots, 2 * before.shape[3]))
        self.cache = np.zeros((*before.shape[:3], room, self.D), dtype=before.dtype)
        self.cache[:, :, :, : before.shape[3]] = before
        self.keys, self.values = self.cache[0].swapaxes(2, 3), self.cache[1]  # (B, K, D, room), (B, K, room, D)
        self.ones = np.ones(room, dtype=before.dtype)

    def step(self, x, slot: int, position: int, lowest: int, mask):  # (B, C) -> (B, H D)
        """One position of each sequence, in `slot`, over slots from `lowest`; `mask` is added to scores, or None."""
        self.to_qkv(x, self.row)
        if self.turns:
            tables = self.rotation.tables(position, position + 1)
            self.rotation.apply(self.row_qk, tables and (tables[0][0], tables[1][0]))
        stop = slot + 1
        if stop > len(self.ones):
            self._make_room(stop)
        self.cache[:, :, :, slot] = self.row_kv
        weights = self.row_q @ self.keys[..., lowest:stop]  # (B, K, G, S)
        flat = weights.reshape(-1)
        safe = flat.dot(flat) < SAFE**2  # then no score is beyond SAFE
        if mask is not None:
            weights += mask
        if safe:
            np.exp(weights, out=weights)
            z = (weights @ self.ones[lowest:stop])[..., None]
        else:
            z = masked_exp(weights[..., None, :])[..., 0, :]
        y = weights @ self.values[:, :, lowest:stop]  # (B, K, G, D)
        y /= z
        return y.reshape(len(y), -1)

    def read(self, x, rows: slice, slot: int, position: int, first: int, last: bool = False):  # (R n, C) -> (R n, H D)
        """n positions from `slot` on of the sequences `rows`, whose first slot in use is `first`.

        With `last`, what the last position gathers is all that is asked for, (R, H D); all keys and values are kept.
        """
        H, K, D = self.H, self.K, self.D
        R = self.cache[0, rows].shape[0]
        parts = self.to_qkv(x).reshape(R, len(x) // R, H + 2 * K, D)
        n = parts.shape[1]
        if slot + n > len(self.ones):
            self._make_room(slot + n)
        cache = self.cache[:, rows]
        if self.turns:
            self.rotation.apply(parts[:, :, : H + K], self.rotation.tables(position, position + n))
        cache[..., slot : slot + n, :] = parts[:, :, H:].reshape(R, n, 2, K, D).transpose(2, 0, 3, 1, 4)
        q = parts[:, :, :H].reshape(R, n, K, H // K, D).transpose(0, 2, 3, 1, 4)  # (R, K, G, n, D)
        keys, values = cache[0][:, :, None], cache[1][:, :, None]  # (R, K, 1, slots, D)
        begin = n - 1 if last else 0
        y = np.empty((R, n - begin, K, H // K, D), dtype=x.dtype)
        for start in range(begin, n, BLOCK):
            stop = min(start + BLOCK, n)
            lowest = max(first, slot + start - self.window + 1)
            part = slice(lowest, slot + stop)
            weights = q[..., start:stop, :] @ keys[..., part, :].swapaxes(-1, -2)  # (R, K, G, rows, S)
            beyond = slot + stop - self.window - lowest  # keys that the last row does not see
            if beyond > 0:
                weights[..., :beyond] += band_mask(stop - start, beyond, weights.dtype)
            z = masked_exp(weights)
            block = weights @ values[..., part, :]
            np.divide(block, z, out=y[:, start - begin : stop - begin].transpose(0, 2, 3, 1, 4))
        return y.reshape(-1, H * D)


@functools.lru_cache(maxsize=16)
def band_mask(rows: int, beyond: int, dtype):  # -> (rows, beyond)
    """Minus infinity where a key lies before a row's window: all for the last row, one less for each row above."""
    row, key = np.arange(rows)[:, None], np.arange(beyond)
    return np.where(key < row + beyond - (rows - 1), -np.inf, 0).astype(dtype)
