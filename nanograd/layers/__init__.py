"""The layers, one a file: the forward formula and the derivation of the backward one stand at its top."""

from nanograd.layers.activations import GELU, ReLU
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import Layer, Parameter
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.residual import ResidualLinear

__all__ = [
    "GELU",
    "MLP",
    "Attention",
    "CausalSelfAttention",
    "CrossEntropy",
    "Dropout",
    "Embedding",
    "LMHead",
    "Layer",
    "LayerNorm",
    "Linear",
    "Parameter",
    "PositionEmbedding",
    "ReLU",
    "ResidualLinear",
]
