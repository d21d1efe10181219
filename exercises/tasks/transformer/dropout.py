import numpy as np

from nanograd import Layer


class Dropout(Layer):
    def __init__(self, p):
        self.p = p
        self.rng = np.random.default_rng(0)

    def forward(self, x):  # (...) -> (...)
        kept = self.rng.random(x.shape) >= self.p
        mask = kept.astype(x.dtype) / (1 - self.p)
        self.remember(mask)
        return x * mask

    def backward(self, dy):  # (...) -> (...)
        mask = self.recall()
        # <<<
        return dy * mask
        # >>>
