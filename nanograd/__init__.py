"""Arrays, layers and their gradients; knows nothing of text."""

from nanograd.device.blas_settings import set_up_blas

set_up_blas()  # before anything imports NumPy

_PUBLIC = {
    "AdamW": "nanograd.optim.adamw",
    "BackendUnavailable": "nanograd.device.device",
    "Device": "nanograd.device.device",
    "Layer": "nanograd.layers.layer",
    "Parameter": "nanograd.layers.layer",
    "clip_grad_norm": "nanograd.optim.adamw",
}
__all__ = ["AdamW", "BackendUnavailable", "Device", "Layer", "Parameter", "clip_grad_norm"]


def __getattr__(name: str):  # imported on first use: the floors above need the settings long before they need NumPy
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nanograd' has no attribute {name!r}")
