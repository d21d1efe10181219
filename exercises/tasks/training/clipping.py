import numpy as np


def clip(gradients, max_norm):
    """{name: gradient} -> the same, scaled so that their common norm is at most max_norm; the norm before."""
    # <<<
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    scale = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return {name: scale * g for name, g in gradients.items()}, norm
    # >>>
