"""Arrays, layers and their gradients; knows nothing of text."""

from nanograd.blas_settings import set_up_blas

set_up_blas()  # before anything imports NumPy

from nanograd.adamw import AdamW, clip_grad_norm  # noqa: E402
from nanograd.backend import BackendUnavailable, Device  # noqa: E402
from nanograd.layer import Layer, Parameter  # noqa: E402

__all__ = ["AdamW", "BackendUnavailable", "Device", "Layer", "Parameter", "clip_grad_norm"]
