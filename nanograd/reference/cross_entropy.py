"""Cross-entropy: how surprised the model is by the token y that came, averaged over the N positions, in nats.

    loss = mean of -log p_y,  p = softmax(s);    -log p_y = -log(exp(s_y) / z) = log z - s_y,  z = sum_k exp(s_k)

Backward, for one position:

    ∂ log z / ∂s_j = (1 / z) ∂z/∂s_j = exp(s_j) / z = p_j            ∂ s_y / ∂s_j = [j = y]: 1 where j = y, else 0

    ds_j = (p_j - [j = y]) / N

and times dloss, which is 1 when the loss is the end of the computation. A step against this gradient raises the score
of the token that came by what it lacks of probability 1, and lowers every other one by what it has; all add up to 0.
"""

import numpy as np

from nanograd.reference.linear import rows
from nanograd.reference.softmax import softmax


def cross_entropy(logits, targets):  # (..., V), (...) ids -> ()
    s, y = rows(logits), targets.reshape(-1)  # (N, V), (N,)
    s = s - s.max(-1, keepdims=True)  # changes log z and s_y by the same
    return (np.log(np.exp(s).sum(-1)) - s[np.arange(len(y)), y]).mean()


def cross_entropy_backward(dloss, logits, targets):
    onehot = np.eye(logits.shape[-1])[targets]  # (..., V): row y of the identity has its 1 at y
    return dloss * (softmax(logits) - onehot) / targets.size
