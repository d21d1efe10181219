"""One door for every model: a run of ours, a Hugging Face folder, a GGUF file, a known model.

    model, tokenizer = load("out/tales")
    model, tokenizer = load("mine")                   what model.save("mine", tokenizer) wrote
    model, tokenizer = load("models/gpt2")            config.json, model.safetensors, tokenizer.json
    model, tokenizer = load("models/llama.Q8_0.gguf")
    model, tokenizer = load("smollm2")

A path that exists wins over a name, and a run of ours over anything else that its folder may hold.
"""

import os
from pathlib import Path
from typing import NamedTuple

from gpt.errors import UsageError
from gpt.hub import folder as hub_folder
from gpt.hub import known_models
from gpt.hub.folder import Shards, is_hub_folder, read_config
from gpt.hub.saved import is_saved, read_saved
from gpt.hub.shapes import GPT2, Shape, shape_of
from gpt.hub.vocab import read_tokenizer
from gpt.hub.weights import blank_model, check_layout, fill
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.folder import is_run
from gpt.runs.load import load_model
from gpt.tokenizers import Tokenizer
from nanograd import Device

MASKS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # tensors that are no weights


class Loaded(NamedTuple):
    """A model in evaluation mode, its tokenizer, where it is from in a few words, and a run's checkpoint."""

    model: GPT
    tokenizer: Tokenizer
    label: str
    checkpoint: Checkpoint | None = None


def load(source: str | os.PathLike, which: str | int = "best", device: Device | str = "auto") -> tuple[GPT, Tokenizer]:
    """(model, tokenizer) of a run, a folder of `model.save`, a Hugging Face folder, a .gguf file or a known model.

    which: the checkpoint of a run: "best" (lowest validation loss), "latest" or a step. device: a Device, or the name
    of a backend; then the model computes in float64 if its weights are, else in float32. The model is in evaluation
    mode: dropout is off. A folder without tokenizer files gives a tokenizer that says so when it is used.

    Raises UsageError for a name that means nothing, RunError or TokenizerFileError for what is damaged, does not fit
    together or asks for what is not done here, BackendUnavailable.
    """
    found = open_model(source, which, device)
    return found.model, found.tokenizer


def open_model(source: str | os.PathLike, which: str | int = "best", device: Device | str = "auto") -> Loaded:
    """The same, with what commands tell about it."""
    path = find(source)
    if is_saved(path):
        model, tokenizer = read_saved(path, device)
        return Loaded(model, tokenizer, f"{path}, {model.n_parameters():,} parameters")
    if is_foreign(path):
        reader = read_gguf if path.is_file() else read_folder
        model, tokenizer, shape = reader(path, device)
        return Loaded(model, tokenizer, f"{source}, {shape.architecture}, {model.n_parameters():,} parameters")
    model, tokenizer, checkpoint = load_model(path, which, device)
    return Loaded(model, tokenizer, f"{path}, step {checkpoint.step}", checkpoint)


def find(source: str | os.PathLike) -> Path:
    """The path that is meant. Raises RunError for a known model that is not installed."""
    path = Path(source)
    if not path.exists() and (known := known_models.find(str(source))):
        return known
    return path


def is_foreign(path: Path) -> bool:
    """Is this another program's model, rather than a run of ours? Raises UsageError for a file that is neither."""
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return True
        raise UsageError(f"{path} is a file; a model is a folder or a .gguf file")
    if not path.exists():
        names = ", ".join(known_models.names())
        raise UsageError(f"{path} does not exist: name the folder of a run, as python train.py made it, or {names}")
    return not is_run(path) and is_hub_folder(path)


def read_folder(folder: Path, device: Device | str) -> tuple[GPT, Tokenizer, Shape]:
    fields = read_config(folder)
    shape = shape_of(fields, folder / hub_folder.CONFIG)

    def known_as(name):
        return name.removeprefix("transformer.") if shape.architecture == GPT2 else name

    def skipped(name):
        return name.endswith(MASKS) or (shape.config.tie_weights and name == "lm_head.weight")

    tokenizer = read_tokenizer(folder, shape.config.vocab_size, fields.get("eos_token_id"))
    with Shards(folder, known_as) as source:
        check_layout(shape.layout, source, skipped)
        return read_model(shape, source, device), tokenizer, shape


def read_gguf(path: Path, device: Device | str) -> tuple[GPT, Tokenizer, Shape]:
    from gpt.hub.gguf.reading import GGUFFile

    with GGUFFile(path) as source:
        shape, tokenizer = source.shape(), source.tokenizer()
        check_layout(shape.layout, source, lambda name: name.startswith("rope_freqs."))
        return read_model(shape, source, device), tokenizer, shape


def read_model(shape: Shape, source, device: Device | str) -> GPT:
    """The model with the weights of `source`, whose tensors fit the layout."""
    if isinstance(device, str):
        double = source.dtype(shape.layout["wte.weight"][0].name) == "float64"
        device = Device(device, dtype="float64" if double else "float32")
    model = blank_model(shape.config, device)
    fill(model, shape.layout, source)
    return model.eval()
