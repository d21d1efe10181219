"""Check the gradients of layers and models, yours included: by the forward pass, and by what all gradients obey."""

from nanograd.gradcheck.check import check_layer, check_model
from nanograd.gradcheck.hessian import hessian_trace, hessian_vector_product, sharpness
from nanograd.gradcheck.symmetry import check_symmetry

__all__ = ["check_layer", "check_model", "check_symmetry", "hessian_trace", "hessian_vector_product", "sharpness"]
