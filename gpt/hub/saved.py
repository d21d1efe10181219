"""A folder that `GPT.save` wrote: model.json, model.safetensors and, where there was one, the tokenizer's own files."""

from pathlib import Path

import numpy as np

from gpt.config.options import GPTConfig
from gpt.errors import RunError, UsageError
from gpt.hub.folder import read_json
from gpt.hub.vocab import NoTokenizer
from gpt.model import SHAPE, WEIGHTS
from gpt.runs.folder import is_run
from gpt.runs.load import check_shapes
from gpt.tensors.safetensors import read_safetensors
from gpt.tokenizers import HEADER, Tokenizer, load_tokenizer


def is_saved(path: Path) -> bool:
    return (path / SHAPE).is_file() and not is_run(path)


def read_saved(folder: Path) -> tuple[GPTConfig, Tokenizer, dict[str, np.ndarray]]:
    """The shape of the model, its tokenizer or one that says that there is none, and the weights.

    Raises RunError or TokenizerFileError for what is damaged or does not fit together.
    """
    config = read_shape(folder / SHAPE)
    if not (folder / WEIGHTS).exists():
        raise RunError(f"{folder} has no {WEIGHTS}: the model's weights are missing")
    tokenizer = NoTokenizer(f"{folder} has no tokenizer: the model was saved without", config.vocab_size)
    if (folder / HEADER).exists():
        tokenizer = load_tokenizer(folder)
        if tokenizer.vocab_size != config.vocab_size:
            sizes = f"its tokenizer has {tokenizer.vocab_size} tokens, its model {config.vocab_size}"
            raise RunError(f"{folder} does not fit together: {sizes}")
    state = read_safetensors(folder / WEIGHTS)
    try:
        check_shapes(config, {name: tensor.shape for name, tensor in state.items()})
    except ValueError as error:
        raise RunError(f"{folder / WEIGHTS} does not fit {SHAPE}: {error}") from None
    return config, tokenizer, state


def read_shape(path: Path) -> GPTConfig:
    """The GPTConfig in model.json. A later flag that it lacks has its default. Raises RunError."""
    try:
        return GPTConfig.from_dict(read_json(path), f"{path}: ")
    except UsageError as error:
        raise RunError(str(error)) from None
