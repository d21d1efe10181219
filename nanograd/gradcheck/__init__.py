"""Check the gradients of layers and models, yours included, against their own forward pass."""

from nanograd.gradcheck.check import check_layer, check_model

__all__ = ["check_layer", "check_model"]
