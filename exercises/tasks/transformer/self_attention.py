import numpy as np

from nanograd import Layer


class SelfAttention(Layer):
    def __init__(self, n_head, c_attn, attention, c_proj):
        self.n_head = n_head
        self.c_attn, self.attention, self.c_proj = c_attn, attention, c_proj  # C -> 3C, q k v -> o, C -> C

    def split(self, x):  # (B, T, C) -> (B, H, T, D)
        B, T, C = x.shape
        return x.reshape(B, T, self.n_head, C // self.n_head).transpose(0, 2, 1, 3)

    def merge(self, x):  # (B, H, T, D) -> (B, T, C)
        B, H, T, D = x.shape
        return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)

    def forward(self, x):  # (B, T, C) -> (B, T, C)
        q, k, v = np.split(self.c_attn(x), 3, axis=-1)  # (B, T, C) each
        o = self.attention(self.split(q), self.split(k), self.split(v))  # (B, H, T, D)
        return self.c_proj(self.merge(o))

    def backward(self, dy):  # (B, T, C) -> (B, T, C)
        # <<<
        do = self.split(self.c_proj.backward(dy))
        dq, dk, dv = self.attention.backward(do)
        dqkv = np.concatenate([self.merge(dq), self.merge(dk), self.merge(dv)], axis=-1)
        return self.c_attn.backward(dqkv)
        # >>>
