import numpy as np

from nanograd import Layer


class RoPE(Layer):
    def __init__(self, theta=10000.0):
        self.theta = theta

    def forward(self, x):  # (..., T, D) -> (..., T, D); channel i is paired with i + D/2
        T, D = x.shape[-2:]
        phi = np.arange(T)[:, None] * self.theta ** (-2.0 * np.arange(D // 2) / D)  # (T, D/2)
        cos, sin = np.cos(phi).astype(x.dtype), np.sin(phi).astype(x.dtype)
        a, b = np.split(x, 2, axis=-1)  # (..., T, D/2) each
        self.remember(cos, sin)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def backward(self, dy):  # (..., T, D) -> (..., T, D)
        cos, sin = self.recall()
        # <<<
        da, db = np.split(dy, 2, axis=-1)
        return np.concatenate([da * cos + db * sin, db * cos - da * sin], axis=-1)
        # >>>
