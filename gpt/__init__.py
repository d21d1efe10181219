"""A GPT made of nanograd layers: model, data, training, sampling."""

from nanograd import __version__  # first, as the package has settings for NumPy's BLAS

_PUBLIC = {"GPT": "gpt.model", "GPTConfig": "gpt.config.options", "generate": "gpt.sampling.generate"}
__all__ = ["GPT", "GPTConfig", "__version__", "generate"]


def __getattr__(name: str):  # imported on first use, so that a command's --help need not wait for NumPy
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gpt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
