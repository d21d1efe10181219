"""Cross-entropy of a softmax, averaged over all positions.

Forward, for the logits s (V,) of one position and the id y of the token that really came next:

    p_j  = exp(s_j) / sum_k exp(s_k)
    loss = -log p_y = log(sum_k exp(s_k)) - s_y

Backward. The derivative of log z is 1/z, and z = sum_k exp(s_k) contains s_j in one term, whose derivative is itself:

    ∂ log z / ∂s_j = (1 / z) exp(s_j) = p_j        ∂s_y / ∂s_j = [j = y], which is 1 where j = y and 0 elsewhere

    ds_j = p_j - [j = y]

and, the loss being a mean, all of it divided by the number of positions. The softmax and the logarithm never
meet: taken one after the other they would overflow or take log(0) for logits of 1e4; together they cannot.

A target of -100 (IGNORED, as in torch) says that a position does not count: its loss and its ds are 0, and the mean is
over the others.
"""

import numpy as np

from nanograd.device.device import Device, as_array, fused, xp_of
from nanograd.device.reductions import sum_channels
from nanograd.layers.layer import Layer, to_host
from nanograd.layers.softmax import exp_rows

IGNORED = -100  # the target of a position that does not count


@fused
def cross_entropy(logits, targets, e):  # (N, V), (N,), (N, V) -> (N,), (N, 1)
    """-log softmax(logits)[target] of each row, 0 where it is ignored; also e, which may be `logits`, and z with
    softmax(logits) = e / z."""
    chosen = logits[np.arange(len(targets)), np.maximum(targets, 0)]
    shift = exp_rows(logits, e)
    z = sum_channels(e)[:, None]
    losses = np.log(z[:, 0])
    losses -= chosen
    if shift is not None:
        losses += shift[:, 0]
    if targets.size and targets.min() < 0:
        losses[targets < 0] = 0
    return losses, z


@fused
def cross_entropy_backward(e, z, targets, scale):  # (N, V), (N, 1), (N,), number
    """Turn e into dlogits = (e / z - onehot(targets)) * scale, in place."""
    e *= scale / z
    e[np.arange(len(targets)), np.maximum(targets, 0)] -= scale
    if targets.size and targets.min() < 0:
        e[targets < 0] = 0


def without_ignored(targets: np.ndarray) -> np.ndarray:  # (...) -> (n,)
    """The targets that are not IGNORED. Raises ValueError for none."""
    counted = targets[targets != IGNORED]
    if not counted.size:
        raise ValueError(f"all targets are {IGNORED} (ignored): there is nothing to take a mean over")
    return counted


def count_targets(targets, below: int) -> int:
    """How many targets are not IGNORED. Raises ValueError for none, or for one that is no id in [0, below) either."""
    counted = without_ignored(to_host(targets, copy=False))
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= below:
        raise ValueError(
            f"target {low if low < 0 else high} is neither in [0, {below}) nor {IGNORED}, which is ignored"
        )
    return counted.size


class CrossEntropy(Layer):
    """Mean cross-entropy in nats of `logits` (..., V) against the ids `targets` (...), over those that are not -100.

    Raises TypeError for targets that are no integers, ValueError for shapes that do not match, for no positions or none
    that counts, and for a target that is neither an id nor -100. `checked` says that the targets have been checked,
    which on a GPU saves a wait.

    With `count`, the sum over the positions is divided by that instead of their number: a part of a batch then
    contributes its share of the whole batch's mean. With `inplace`, the caller needs `logits` no more, and they are
    overwritten: this is the largest array of a step.
    """

    def __init__(self, *, device: Device | None = None):
        pass  # any device: arrays are computed where they are

    def forward(self, logits, targets, count: int | None = None, inplace: bool = False, checked: bool = False):
        V = logits.shape[-1]  # logits (..., V), targets (...) -> ()
        targets = xp_of(logits).asarray(as_array(targets))
        self.expect_shape("targets", targets, logits.shape[:-1])
        targets = targets.reshape(-1)
        if targets.dtype.kind not in "iu":
            raise TypeError(f"targets must be integers, not {targets.dtype}")
        if targets.size == 0:
            raise ValueError("the loss of no positions is not defined")
        if not checked:
            counted = count_targets(targets, V)
            count = count or counted
        rows = logits.reshape(-1, V)
        e = rows if inplace and rows.flags.c_contiguous else self.buffer("e", like=rows)
        losses, z = cross_entropy(rows, targets, e)
        scale = 1 / (count or targets.size)
        self.remember(e, z, targets, scale, logits.shape)
        return losses.sum() * scale

    def backward(self, dloss=1.0):  # () -> (..., V)
        e, z, targets, scale, shape = self.recall()
        self.expect_shape("dloss", as_array(dloss), ())
        cross_entropy_backward(e, z, targets, scale * dloss)
        return e.reshape(shape)
