"""What `import tokenizers` means in the root of a checkout, where the folder has the name of Hugging Face's package.

Whoever imports it first decides for the process: an installed package, as `transformers`, means Hugging Face's, and
everything else means this folder. The program itself says `gpt.tokenizers` and has this folder either way.
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

NAME = "tokenizers"
FOLDER = Path(__file__).resolve().parent


def chosen() -> ModuleType:
    """The module that `import tokenizers` gives, its submodules beside it. For tokenizers/__init__.py, as it is run."""
    return (theirs() if imported_by_a_package() else None) or ours()


def ours() -> ModuleType:
    """The modules of gpt.tokenizers, so that no class is there twice."""
    for found in iter_modules([str(FOLDER)]):
        sys.modules[f"{NAME}.{found.name}"] = import_module(f"gpt.tokenizers.{found.name}")
    return import_module("gpt.tokenizers")


def theirs() -> ModuleType | None:
    """Hugging Face's package, or None where it is not installed."""
    elsewhere = [path for path in sys.path if Path(path).resolve() != FOLDER.parent]
    spec = PathFinder.find_spec(NAME, elsewhere)
    if spec is None or spec.loader is None:
        return None
    package = sys.modules[NAME] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def imported_by_a_package() -> bool:
    """Does the import stand in a file of an installed package?"""
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent != FOLDER and "importlib" not in path.as_posix():
            return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
        frame = frame.f_back
    return False
