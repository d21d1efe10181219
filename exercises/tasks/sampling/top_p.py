import numpy as np


def top_p(z, p):
    """Scores (V,) -> scores (V,): minus infinity but for the fewest likeliest tokens that together reach p."""
    # <<<
    order = np.argsort(-z, kind="stable")
    e = np.exp(z - z.max())
    q = (e / e.sum())[order]
    before = np.cumsum(q) - q
    kept = order[before < p]
    out = np.full(len(z), -np.inf)
    out[kept] = z[kept]
    return out
    # >>>
