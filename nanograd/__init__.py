"""Arrays, layers and their gradients; knows nothing of text."""

from nanograd.adamw import AdamW, clip_grad_norm
from nanograd.backend import BackendUnavailable, Device
from nanograd.layer import Layer, Parameter

__all__ = ["AdamW", "BackendUnavailable", "Device", "Layer", "Parameter", "clip_grad_norm"]
