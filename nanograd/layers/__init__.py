"""The layers, one a file: the forward formula and the derivation of the backward one stand at its top."""

from nanograd.device.parameter import Parameter
from nanograd.layers.activations import GELU, ReLU, ReLUSquared
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import Layer
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.residual import ResidualLinear
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.swiglu import GatedMLP, SwiGLU

__all__ = [
    "GELU",
    "MLP",
    "Attention",
    "CausalSelfAttention",
    "CrossEntropy",
    "Dropout",
    "Embedding",
    "GatedMLP",
    "LMHead",
    "Layer",
    "LayerNorm",
    "Linear",
    "Parameter",
    "PositionEmbedding",
    "RMSNorm",
    "ReLU",
    "ReLUSquared",
    "ResidualLinear",
    "RoPE",
    "SwiGLU",
]
