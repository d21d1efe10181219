"""Arrays, layers and their gradients; knows nothing of text."""

from nanograd.device.blas_settings import set_up_blas
from nanograd.missing import shorten_errors

set_up_blas()  # before anything imports NumPy
shorten_errors()  # where there is no NumPy

__version__ = "0.1.0"

_PUBLIC = {
    "AdamW": "nanograd.optim.adamw",
    "BackendUnavailable": "nanograd.device.device",
    "Device": "nanograd.device.device",
    "Layer": "nanograd.layers.layer",
    "Muon": "nanograd.optim.muon",
    "Parameter": "nanograd.device.parameter",
    "clip_grad_norm": "nanograd.optim.adamw",
}
__all__ = ["AdamW", "BackendUnavailable", "Device", "Layer", "Muon", "Parameter", "clip_grad_norm"]


def __getattr__(name: str):  # imported on first use: a command's --help needs the settings above, but not NumPy
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nanograd' has no attribute {name!r}")
    from importlib import import_module

    if name == "Device":
        import_module("nanograd.kernels")  # registers the CUDA kernels with the definitions marked @fused
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
