"""A GPT made of nanograd layers: model, data, training, sampling."""

import nanograd  # noqa: F401  first, as it has settings for NumPy's BLAS

_PUBLIC = {"GPT": "gpt.model", "GPTConfig": "gpt.config.options", "generate": "gpt.sampling.generate"}
__all__ = ["GPT", "GPTConfig", "generate"]


def __getattr__(name: str):  # imported on first use, so that a command's --help need not wait for NumPy
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gpt' has no attribute {name!r}")
