"""A GPT made of nanograd layers: model, data, training, sampling."""

import sys
from pathlib import Path

from nanograd import __version__  # first, as the package has settings for NumPy's BLAS


class TokenizersBeside:
    """Finds `gpt.tokenizers` beside this folder, where a checkout has it. An installed package has it inside."""

    folder = Path(__file__).resolve().parent.parent / "tokenizers"

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != f"{__name__}.tokenizers":
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, cls.folder / "__init__.py", submodule_search_locations=[str(cls.folder)])


if not Path(__file__).with_name("tokenizers").is_dir():
    sys.meta_path.append(TokenizersBeside)

_PUBLIC = {
    "GPT": "gpt.model",
    "GPTConfig": "gpt.config.options",
    "generate": "gpt.sampling.generate",
    "load": "gpt.hub.load",
    "train": "gpt.training.call",
}
__all__ = ["GPT", "GPTConfig", "__version__", "generate", "load", "train"]


def __getattr__(name: str):  # imported on first use, so that a command's --help need not wait for NumPy
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gpt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
