import numpy as np

from nanograd import Layer


class SwiGLU(Layer):
    def forward(self, g, u):  # (...), (...) -> (...): the gate opens for u
        s = 1 / (1 + np.exp(-g))
        self.remember(g, u, s)
        return g * s * u

    def backward(self, dy):  # (...) -> dg, du
        g, u, s = self.recall()
        # <<<
        silu = g * s
        slope = s + g * s * (1 - s)
        return dy * u * slope, dy * silu
        # >>>
