"""Arrays, layers and their gradients; knows nothing of text."""

from nanograd.blas_settings import set_up_blas

set_up_blas()  # before anything imports NumPy

_PUBLIC = {
    "AdamW": "nanograd.adamw",
    "BackendUnavailable": "nanograd.backend",
    "Device": "nanograd.backend",
    "Layer": "nanograd.layer",
    "Parameter": "nanograd.layer",
    "clip_grad_norm": "nanograd.adamw",
}
__all__ = ["AdamW", "BackendUnavailable", "Device", "Layer", "Parameter", "clip_grad_norm"]


def __getattr__(name: str):  # imported on first use: the floors above need the settings long before they need NumPy
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nanograd' has no attribute {name!r}")
