"""The gradient check runs over the plain model too: its functions as layers, nothing of the fast ones."""

import inspect

import numpy as np
import pytest

from nanograd import Layer
from nanograd.gradcheck import check_layer
from nanograd.reference import (
    activations,
    adamw,
    attention,
    cross_entropy,
    embedding,
    linear,
    mlp,
    model,
    muon,
    normalization,
    rope,
    softmax,
)
from tests.support import ROOT

rng = np.random.default_rng(0)


def numbers(*shape):
    return rng.standard_normal(shape)


class Plain(Layer):
    """forward(*inputs) and backward(dy) of a function and its backward; `settings` come after the inputs."""

    def __init__(self, function, backward, *settings):
        self.function, self.function_backward, self.settings = function, backward, settings

    def forward(self, *inputs):
        self.remember(inputs)
        return self.function(*inputs, *self.settings)

    def backward(self, dy):
        gradients = self.function_backward(dy, *self.recall(), *self.settings)
        return gradients


B, T, C, H = 2, 3, 4, 2
IDS = np.array([[1, 0, 1], [2, 1, 2]])
CASES = {
    "linear": (linear.linear, linear.linear_backward, [numbers(B, T, C), numbers(C, 3), numbers(3)], []),
    "relu": (activations.relu, activations.relu_backward, [numbers(B, T, C)], []),
    "relu2": (activations.relu2, activations.relu2_backward, [numbers(B, T, C)], []),
    "silu": (activations.silu, activations.silu_backward, [numbers(B, T, C)], []),
    "gelu": (activations.gelu, activations.gelu_backward, [numbers(B, T, C)], []),
    "layernorm": (
        normalization.layernorm,
        normalization.layernorm_backward,
        [numbers(B, T, C), numbers(C), numbers(C)],
        [],
    ),
    "rmsnorm": (normalization.rmsnorm, normalization.rmsnorm_backward, [numbers(B, T, C), numbers(C)], []),
    "softmax": (softmax.softmax, softmax.softmax_backward, [numbers(B, T)], []),
    "attention": (attention.attention, attention.attention_backward, [numbers(H, T, 2) for _ in range(3)], []),
    "self_attention": (
        attention.self_attention,
        attention.self_attention_backward,
        [numbers(B, T, C), numbers(C, 3 * C), numbers(C, C), numbers(C)],
        [H],
    ),
    "mlp": (
        mlp.mlp,
        mlp.mlp_backward,
        [numbers(B, T, C), numbers(C, 4 * C), numbers(4 * C), numbers(4 * C, C), numbers(C)],
        [],
    ),
    "swiglu": (
        mlp.swiglu,
        mlp.swiglu_backward,
        [numbers(B, T, C), numbers(C, 5), numbers(C, 5), numbers(5, C)],
        [],
    ),
    "share_heads": (attention.share_heads, attention.share_heads_backward, [numbers(B, H, T, 2)], [3]),
    "rotate": (rope.rotate, rope.rotate_backward, [numbers(B, H, T, 4)], [rope.angles(T, 4, 10.0)]),
    "embedding": (
        lambda weight: embedding.embedding(IDS, weight),
        lambda dy, weight: embedding.embedding_backward(dy, IDS, weight),
        [numbers(4, C)],
        [],
    ),
    "cross_entropy": (
        lambda logits: cross_entropy.cross_entropy(logits, IDS),
        lambda dloss, logits: cross_entropy.cross_entropy_backward(dloss, logits, IDS),
        [numbers(B, T, 5)],
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_jacobian(name):
    function, backward, inputs, settings = CASES[name]
    report = check_layer(Plain(function, backward, *settings), *inputs, full=True, rules=False)
    assert report.full and report.ok, report
    assert len(report.entries) == len(inputs)


def test_every_backward_of_the_plain_model_is_checked():
    modules = activations, attention, cross_entropy, embedding, linear, mlp, normalization, rope, softmax
    names = {n.removesuffix("_backward") for m in modules for n, f in vars(m).items() if n.endswith("_backward")}
    assert names == set(CASES)


def whole(p, forward, backward, names):
    """A function of the parameters one after the other, and its backward."""
    return (
        lambda *values: forward(dict(zip(names, values, strict=True))),
        lambda dy, *values: backward(dy, dict(zip(names, values, strict=True))),
        [p[name] for name in names],
    )


def plain_gpt(n_layer, length):
    """The plain model's loss as a case."""
    p = model.new_parameters(5, T, C, n_layer, rng)
    p = {name: value + 0.4 * numbers(*value.shape) for name, value in p.items()}
    ids, targets = IDS[:, :length], IDS[::-1, :length]
    return *whole(
        p,
        lambda p: model.gpt_loss(ids, targets, p, H),
        lambda dy, p: tuple(model.gpt_backward(dy, ids, targets, p, H).values()),
        list(p),
    ), []


def test_block():
    (p,) = model.blocks(model.new_parameters(5, T, C, 1, rng))
    names, x = list(p), numbers(B, T, C)
    p = {name: value + 0.5 * numbers(*value.shape) for name, value in p.items()}

    def backward(dy, x, *values):
        dx, gradients = model.block_backward(dy, x, dict(zip(names, values, strict=True)), H)
        return dx, *(gradients[name] for name in names)

    layer = Plain(lambda x, *values: model.block(x, dict(zip(names, values, strict=True)), H), backward)
    report = check_layer(layer, x, *p.values(), rules=False)
    assert report.ok, report


@pytest.mark.parametrize("n_layer, length", [(1, 3), (2, 2)])
def test_whole_model(n_layer, length):
    forward, backward, values, _ = plain_gpt(n_layer, length)
    report = check_layer(Plain(forward, backward), *values, rules=False)
    assert report.ok and report.full, report
    assert len(report.entries) == len(values)


def test_rotated_dot_products_depend_on_the_distance_alone():
    phi = rope.angles(6, 4)
    q, k = (np.tile(numbers(4), (6, 1)) for _ in range(2))
    S = rope.rotate(q, phi) @ rope.rotate(k, phi).T
    np.testing.assert_allclose(S[1:, 1:], S[:-1, :-1], rtol=1e-12)
    assert not np.allclose(S[0, 0], S[0, 5])


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_muon_makes_matrices_nearly_orthogonal(shape):
    singular = np.linalg.svd(muon.nearly_orthogonal(numbers(*shape)), compute_uv=False)
    assert singular.max() < 1.22 and np.median(singular) > 0.65
    W, m = muon.muon(np.ones(shape), numbers(*shape), np.zeros(shape), lr=0.1)
    step = np.linalg.svd((np.ones(shape) - W) / 0.1, compute_uv=False)
    assert 0.6 < np.median(step) / max(1, (shape[1] / shape[0]) ** 0.5) < 1.25
    assert m.shape == shape


def test_angles_are_those_of_the_paper():
    phi = rope.angles(3, 6)
    assert phi.shape == (3, 3)
    expected = [[t * 10000 ** (-2 * i / 6) for i in range(3)] for t in range(3)]
    np.testing.assert_allclose(phi, expected, rtol=1e-15)


def test_muon_by_hand():
    W, g, m = numbers(2, 3), numbers(2, 3), numbers(2, 3)
    new, momentum = muon.muon(W, g, m, lr=0.1)
    np.testing.assert_allclose(momentum, 0.95 * m + g, rtol=1e-14)
    step = 1.5**0.5 * muon.nearly_orthogonal(g + 0.95 * momentum, steps=5)
    np.testing.assert_allclose(new, W - 0.1 * step, rtol=1e-12)
    np.testing.assert_allclose(muon.muon(W, g, m, 0.1, weight_decay=0.5)[0], 0.95 * W - 0.1 * step, rtol=1e-12)
    # On singular values the polynomial acts as on numbers.
    s = 0.6, 0.8
    for _ in range(5):
        s = [3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5 for x in s]
    np.testing.assert_allclose(muon.nearly_orthogonal(np.diag([3.0, 4.0])), np.diag(s), rtol=1e-12)


def test_large_scores_do_not_overflow():
    s = np.array([[1000.0, 999.0, -1000.0]])
    p = [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]
    np.testing.assert_allclose(softmax.softmax(s)[0], p, rtol=1e-12)
    np.testing.assert_allclose(cross_entropy.cross_entropy(s, np.array([1])), -np.log(p[1]), rtol=1e-12)


def test_the_slope_of_relu_at_0_is_0():
    assert activations.relu_backward(np.ones(1), np.zeros(1)) == 0


def test_parameters_begin_small_and_weights_decay_by_default():
    p = model.new_parameters(50, 50, 50, 1, np.random.default_rng(0))
    for name, value in p.items():
        if value.ndim == 2:
            assert 0.018 < value.std() < 0.022, name
        else:
            assert (value == ("ln" in name and name.endswith("weight"))).all(), name
    still = adamw.adamw(np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), 1, lr=0.1)[0]
    np.testing.assert_allclose(still, 1 - 0.1 * 0.01, rtol=1e-14)


def test_adamw_of_a_constant_gradient_moves_by_lr():
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    for t in range(1, 6):
        new, m, v = adamw.adamw(p, np.array([5.0, -0.01, 1.0]), m, v, t, lr=0.1)
        np.testing.assert_allclose(p - new, [0.1, -0.1, 0.1], rtol=1e-5)
        p = new


def test_it_imports_nothing_but_numpy_and_itself():
    for path in (ROOT / "nanograd" / "reference").glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(("import ", "from ")):
                assert line in ("import numpy as np", "import math") or line.startswith("from nanograd.reference."), (
                    line
                )


def test_nothing_is_done_in_place():
    for name, (function, backward, inputs, settings) in CASES.items():
        before = [x.copy() for x in inputs]
        dy = np.ones(np.shape(function(*inputs, *settings)))
        backward(dy, *inputs, *settings)
        for x, kept in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(x, kept, err_msg=name)
        assert (dy == 1).all()
        assert " out=" not in inspect.getsource(function)
