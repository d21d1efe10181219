"""A failing check says what the mistake looks like: three numbers, and a factor, a sign, a transpose, a missing sum."""

import numpy as np
import pytest

from nanograd import Device
from nanograd.gradcheck import check_layer
from nanograd.gradcheck.explain import clues, common_factor, largest_gaps
from nanograd.layers import LayerNorm, Linear, RMSNorm

DEVICE = Device("numpy", dtype="float64")
X = np.random.default_rng(0).standard_normal((2, 3, 4))


def entries(layer) -> dict:
    report = check_layer(layer, X, rules=False)
    return {entry.name: entry for entry in report.entries}, str(report)


class Spoiled(Linear):
    """A Linear whose gradients a test changes: {name: function of the right gradient, dy and the layer}."""

    def __init__(self, **changes):
        super().__init__(4, 4, device=DEVICE)
        self.changes = changes

    def backward(self, dy):
        before = {name: getattr(self, name).grad.copy() for name in ("weight", "bias")}
        dx = super().backward(dy)
        for name in ("weight", "bias"):
            if name in self.changes:
                parameter = getattr(self, name)
                parameter.grad[...] = before[name] + self.changes[name](parameter.grad - before[name], dy, self)
        return self.changes["x"](dx, dy, self) if "x" in self.changes else dx


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("x", lambda g, dy, _: -g, "every number has the wrong sign"),
        ("x", lambda g, dy, _: g / 6, "0.166667 times the right one: a mean in place of a sum over 6?"),
        ("bias", lambda g, dy, _: g * 2, "2 times the right one: a sum in place of a mean over 2?"),
        ("weight", lambda g, dy, _: g * 0.5, "0.5 times the right one: a mean in place of a sum over 2?"),
        ("weight", lambda g, dy, _: g * 0.7, "0.7 times the right one"),
        ("weight", lambda g, dy, _: g * 0, "all of it is 0"),
        ("weight", lambda g, dy, _: g.T, "axes 0 and 1 exchanged: is a transpose missing?"),
        ("bias", lambda g, dy, _: dy[0].sum(0), "only the first index of dy's axis 0"),
        ("bias", lambda g, dy, _: dy[:, -1].sum(0), "only the last index of dy's axis 1"),
    ],
)
def test_what_a_mistake_looks_like(name, change, says):
    found, printed = entries(Spoiled(**{name: change}))
    assert [str(clue) for clue in found[name].clues] and says in str(found[name].clues[0])
    assert says in printed and "for a random dy, yours: [" in printed
    assert all(not other.clues and not other.examples for other in found.values() if other.name != name)
    assert len(found[name].examples) == 3
    index, yours, right = found[name].examples[0]
    assert yours != right and len(index) == found[name].shape.__len__()


def test_a_mean_that_is_missing_in_layernorm():
    class WithoutItsMean(LayerNorm):
        def backward(self, dy):
            xhat, rstd, _ = self._saved
            xhat, rstd = xhat.reshape(dy.shape).copy(), rstd.reshape(*dy.shape[:-1], 1).copy()
            super().backward(dy.copy())
            g = dy * self.weight.value
            return rstd * (g - xhat * (g * xhat).mean(-1, keepdims=True))

    found, printed = entries(WithoutItsMean(4, device=DEVICE))
    assert "the same all along axis 2: is a term missing that is a mean or a sum over it?" in printed
    assert [clue.kind for clue in found["x"].clues] == ["constant"]


def test_a_term_along_x_that_is_missing_in_rmsnorm():
    class WithoutItsStretch(RMSNorm):
        def backward(self, dy):
            right = super().backward(dy.copy())
            rstd = 1 / np.sqrt((X * X).mean(-1, keepdims=True) + self.eps)
            return right * 0 + rstd * dy * self.weight.value

    found, _ = entries(WithoutItsStretch(4, device=DEVICE))
    assert [clue.kind for clue in found["x"].clues] == ["proportional"]


def test_what_looks_like_no_mistake_gets_numbers_alone():
    rng = np.random.default_rng(1)
    found, _ = entries(Spoiled(x=lambda g, dy, _: g + rng.standard_normal(g.shape)))
    assert found["x"].examples and not found["x"].clues


def test_right_gradients_get_no_word():
    found, printed = entries(Spoiled())
    assert all(not entry.examples and not entry.clues for entry in found.values()) and "yours" not in printed


def test_factors():
    right = np.array([1.0, -2.0, 3.0])
    assert common_factor(3 * right, right) == pytest.approx(3)
    assert common_factor(right * 0, right) == 0
    assert common_factor(right + 1, right) is None
    assert common_factor(right * np.nan, right) is None
    assert common_factor(right[:2], right) is None and common_factor(right, 0 * right) is None


def test_largest_gaps_come_first_and_nan_before_all():
    yours, right = np.array([1.0, np.nan, 2.0, 5.0]), np.array([1.0, 0.0, 2.5, 3.0])
    assert [index for index, _, _ in largest_gaps(yours, right)] == [(1,), (3,), (2,)]


def test_a_transpose_is_not_claimed_of_what_is_symmetric():
    symmetric = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert clues(symmetric + np.array([[1.0, 0.0], [0.0, 0.5]]), symmetric, np.ones((2, 2))) == []
