"""The battery: one way to make every layer of nanograd/ and gpt/ in any shape, and the checks that all must pass.

`battery_test(name)` draws shapes, with 1 in every axis among them, and puts each through `check_layer`: gradients
and rules. `jacobian_test(name)` compares the full Jacobian by both methods. A layer's test file has one line for
each; test_gradcheck.py fails for a layer that is not here, or here and in no test file.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.config.options import GPTConfig
from gpt.model import Block
from nanograd import Device
from nanograd.device.rng import RNG
from nanograd.gradcheck.check import check_layer
from nanograd.layers.activations import GELU, ReLU, ReLUSquared
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.residual import ResidualLinear
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.swiglu import GatedMLP, SwiGLU
from tests.support.marks import slow

DEVICE = Device("numpy", dtype="float64", seed=3)
COMPLEX_BOUND, DIFFERENCE_BOUND = 1e-12, 1e-9


class Sizes:
    """Where the shapes of a case come from: drawn by hypothesis, or fixed."""

    def __init__(self, draw=None, seed: int = 0):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)) if draw else seed)

    def size(self, otherwise: int, most: int = 4) -> int:
        return self.draw(st.integers(1, most)) if self.draw else otherwise

    def one_of(self, *values):
        """The last one where nothing is drawn."""
        return self.draw(st.sampled_from(values)) if self.draw else values[-1]

    def lead(self) -> tuple[int, ...]:
        """The axes before the last one."""
        return tuple(self.draw(st.lists(st.integers(1, 4), max_size=3))) if self.draw else (2, 3)

    def array(self, *shape: int, scales=(0.1, 3.0, 1.0)) -> np.ndarray:
        return self.rng.standard_normal(shape) * self.one_of(*scales)

    def ids(self, n: int, *shape: int) -> np.ndarray:
        """Few distinct ones, so that they repeat."""
        return self.rng.integers(0, min(n, 3), shape)


def linear(s: Sizes):
    n_in = s.size(4)
    return Linear(n_in, s.size(3), s.one_of(False, True), device=DEVICE), (s.array(*s.lead(), n_in),)


def residual_linear(s: Sizes):
    n_in, dropout = s.size(4), Dropout(s.one_of(0.0, 0.3), device=DEVICE)
    layer = ResidualLinear(n_in, s.size(3), s.one_of(False, True), dropout=dropout, device=DEVICE)
    return layer, (s.array(s.size(2), *s.lead(), n_in),)


def relu(s: Sizes):
    return ReLU(), (s.array(*s.lead(), s.size(4)),)


def relu_squared(s: Sizes):
    return ReLUSquared(), (s.array(*s.lead(), s.size(4)),)


def gelu(s: Sizes):
    # Not 3.0: at x = -5 the slope, 1e-5, is all that is left of two terms near 1, and so are its digits.
    return GELU(), (s.array(*s.lead(), s.size(4), scales=(0.1, 1.0)),)


def layer_norm(s: Sizes):
    C = s.size(5, most=6)
    # Of two channels all that is left of dx is what eps lets through: with 1e-5 it drowns in rounding.
    eps = 0.1 if C == 2 else 1e-5
    return LayerNorm(C, s.one_of(False, True), device=DEVICE, eps=eps), (s.array(*s.lead(), C),)


def rms_norm_of(s: Sizes, dim: int):
    # Of one channel all that is left of dx is what eps lets through.
    return RMSNorm(dim, s.one_of(False, True), device=DEVICE, eps=0.1 if dim == 1 else 1e-5)


def rms_norm(s: Sizes):
    C = s.size(5, most=6)
    return rms_norm_of(s, C), (s.array(*s.lead(), C),)


def rope_of(s: Sizes, dim: int):
    llama3 = {"scaling": "llama3", "factor": 8.0, "original_context": 4}
    settings = s.one_of({}, {"scaling": "linear", "factor": 3.0}, llama3 | {"theta": 100.0})
    return RoPE(dim, s.one_of("interleaved", "half"), **settings)


def rope(s: Sizes):
    D = 2 * s.size(2, most=3)
    return rope_of(s, D), (s.array(s.size(2), s.size(4), s.size(3), D),)


def dropout(s: Sizes):
    layer = Dropout(s.one_of(0.0, 0.9, 0.3), device=DEVICE)
    return layer.train(s.one_of(False, True, True)), (s.array(*s.lead(), s.size(4)),)


def attention(s: Sizes):
    B, T, K, D = s.size(2), s.size(5, most=6), s.size(2, most=2), s.size(2, most=3)
    H = K * s.one_of(3, 2, 1)
    return Attention(H, Dropout(s.one_of(0.0, 0.4), device=DEVICE), n_kv_head=K), (s.array(B, T, (H + 2 * K) * D),)


def attention_options(s: Sizes, D: int) -> dict:
    """What tells later models' attention from GPT-2's, but for the heads."""
    return {
        "rope": s.one_of(False, True) and rope_of(s, D) if D % 2 == 0 else None,
        "qk_norm": (rms_norm_of(s, D), rms_norm_of(s, D)) if s.one_of(False, True) else None,
    }


def causal_self_attention(s: Sizes):
    B, T, K, D = s.size(2), s.size(4), s.size(2, most=2), s.size(2, most=4)
    H = K * s.one_of(1, 2)
    C = s.one_of(3, H * D)
    biases = {"bias": s.one_of(False, True), "qkv_bias": s.one_of(False, True)}
    options = {"n_kv_head": K, "head_dim": None if C == H * D else D, **attention_options(s, D), **biases}
    return CausalSelfAttention(C, H, device=DEVICE, dropout=s.one_of(0.0, 0.3), **options), (s.array(B, T, C),)


def swiglu(s: Sizes):
    shape = *s.lead(), s.size(4)
    return SwiGLU(), (s.array(*shape), s.array(*shape))


def gated_mlp(s: Sizes):
    C = s.size(3)
    layer = GatedMLP(C, s.size(5), device=DEVICE, dropout=s.one_of(0.0, 0.3), bias=s.one_of(False, True))
    return layer, (s.array(*s.lead(), C),)


def mlp(s: Sizes):
    C, activation = s.size(3), s.one_of("gelu", "relu2", "relu")
    settings = {"activation": activation, "bias": s.one_of(False, True), "n_inner": s.one_of(5, None)}
    layer = MLP(C, device=DEVICE, dropout=s.one_of(0.0, 0.3), **settings)
    return layer, (s.array(*s.lead(), C),)


def embedding(s: Sizes):
    n = s.size(5, most=6)
    return Embedding(n, s.size(3), device=DEVICE), (s.ids(n, *s.lead()),)


def position_embedding(s: Sizes):
    T, dim = s.size(3), s.size(4)
    return PositionEmbedding(T + s.one_of(0, 2), dim, device=DEVICE), (s.array(s.size(2), T, dim),)


def lm_head(s: Sizes):
    dim = s.size(4)
    return LMHead(s.size(6), dim, device=DEVICE), (s.array(*s.lead(), dim),)


def cross_entropy(s: Sizes):
    lead, V = s.lead(), s.size(5, most=7)
    return CrossEntropy(), (s.array(*lead, V), s.ids(V, *lead))


def block(s: Sizes):
    H, T = s.one_of(1, 2), s.size(3)
    C = H * s.size(2, most=2)
    shared = {"dropout": s.one_of(0.0, 0.25), "bias": s.one_of(False, True), "qkv_bias": s.one_of(False, True)}
    gpt2 = {"activation": s.one_of("relu", "gelu")}
    llama = {
        "norm": "rmsnorm",
        "norm_eps": 1e-5 if C > 2 else 0.1,
        "position": "rope",
        "activation": s.one_of("relu2", "swiglu"),
        "n_kv_head": 1,
        "head_dim": 2 * s.size(1, most=2),
        "qk_norm": s.one_of("none", "rms", "rms_weight"),
        "n_inner": s.size(5),
    }
    config = GPTConfig(vocab_size=2, n_head=H, n_embd=C, **shared, **s.one_of(llama, gpt2))
    return Block(config, DEVICE, RNG(5), 0), (s.array(s.size(2), T, C),)


BATTERY = {
    "Linear": linear,
    "ResidualLinear": residual_linear,
    "ReLU": relu,
    "ReLUSquared": relu_squared,
    "GELU": gelu,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "RoPE": rope,
    "Dropout": dropout,
    "Attention": attention,
    "CausalSelfAttention": causal_self_attention,
    "MLP": mlp,
    "SwiGLU": swiglu,
    "GatedMLP": gated_mlp,
    "Embedding": embedding,
    "PositionEmbedding": position_embedding,
    "LMHead": lm_head,
    "CrossEntropy": cross_entropy,
    "Block": block,
}


def battery_test(name: str):
    """A test that puts the layer, in shapes that hypothesis draws, through everything."""

    @given(st.data())
    def test(data):
        sizes = Sizes(data.draw)
        layer, inputs = BATTERY[name](sizes)
        seed = data.draw(st.integers(0, 1000))
        report = check_layer(layer, *inputs, full=False, samples=2, seed=seed)
        assert report.method == "complex step"
        assert report.ok, report

    return test


def jacobian_test(name: str):
    """A test of the full Jacobian at one shape, by both methods."""

    @pytest.mark.parametrize("method, bound", [("complex step", COMPLEX_BOUND), slow("differences", DIFFERENCE_BOUND)])
    def test(method, bound):
        layer, inputs = BATTERY[name](Sizes(seed=1))
        report = check_layer(layer, *inputs, method=method, full=True, tolerance=bound)
        assert report.full
        assert report.ok, report

    return test
