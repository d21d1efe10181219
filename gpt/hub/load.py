"""One door for every model: a run of ours, a Hugging Face folder, a GGUF file, a known model.

    model, tokenizer = load("out/tales")
    model, tokenizer = load("mine")                   what model.save("mine", tokenizer) wrote
    model, tokenizer = load("models/gpt2")            config.json, model.safetensors, tokenizer.json
    model, tokenizer = load("models/llama.Q8_0.gguf")
    model, tokenizer = load("smollm2")

A path that exists wins over a name, and a run of ours over anything else that its folder may hold.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gpt.config.options import GPTConfig
from gpt.errors import UsageError
from gpt.hub import folder as hub_folder
from gpt.hub import known_models
from gpt.hub.folder import Shards, is_hub_folder, read_config
from gpt.hub.saved import is_saved, read_saved
from gpt.hub.shapes import GPT2, Shape, shape_of
from gpt.hub.vocab import read_tokenizer
from gpt.hub.weights import check_layout, fill
from gpt.model import GPT, WEIGHTS
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.folder import is_run
from gpt.runs.load import blank_model, hand_over, read_run
from gpt.tokenizers import Tokenizer
from nanograd import Device

MASKS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # tensors that are no weights


class Loaded(NamedTuple):
    """A model in evaluation mode, its tokenizer, where it is from in a few words, and a run's checkpoint, without the
    weights that are in the model."""

    model: GPT
    tokenizer: Tokenizer
    label: str
    checkpoint: Checkpoint | None = None


class Opened(NamedTuple):
    """What is known of a model before its weights are read, and `fill(model)`, which reads them.

    `fill` takes a model of `config`, on any device, whose context may be shorter. `double`: are the weights float64?
    `ours`: was it trained, or saved, by this program?
    """

    config: GPTConfig
    tokenizer: Tokenizer
    about: str
    double: bool
    fill: Callable[[GPT], None]
    checkpoint: Checkpoint | None = None
    ours: bool = False


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
    with opened(source, which) as found:
        if isinstance(device, str):
            device = Device(device, dtype="float64" if found.double else "float32")
        model = blank_model(found.config, device)
        found.fill(model)
    label = found.about if found.checkpoint else f"{found.about}, {model.n_parameters():,} parameters"
    return Loaded(model.eval(), found.tokenizer, label, found.checkpoint)


@contextlib.contextmanager
def opened(source: str | os.PathLike, which: str | int = "best") -> Iterator[Opened]:
    """What `source` is; its files are open inside the block. Raises as `load` does."""
    path = find(source)
    if not is_saved(path) and is_foreign(path):
        with (opened_gguf if path.is_file() else opened_folder)(path) as found:
            yield found._replace(about=f"{source}, {found.about}")
        return
    if is_saved(path):
        config, tokenizer, state = read_saved(path)
        where, about, checkpoint = path / WEIGHTS, f"{path}", None
    else:
        config, tokenizer, checkpoint = read_run(path, which)
        state, where, about = checkpoint.model_state, checkpoint.path, f"{path}, step {checkpoint.step}"
    double = "wte.weight" in state and state["wte.weight"].dtype == "float64"
    yield Opened(config, tokenizer, about, double, lambda model: hand_over(state, model, where), checkpoint, ours=True)


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


@contextlib.contextmanager
def opened_folder(folder: Path) -> Iterator[Opened]:
    fields = read_config(folder)
    shape = shape_of(fields, folder / hub_folder.CONFIG)

    def known_as(name):
        return name.removeprefix("transformer.") if shape.architecture == GPT2 else name

    def skipped(name):
        return name.endswith(MASKS) or (shape.config.tie_weights and name == "lm_head.weight")

    tokenizer = read_tokenizer(folder, shape.config.vocab_size, fields.get("eos_token_id"))
    with Shards(folder, known_as) as source:
        check_layout(shape.layout, source, skipped)
        yield of_source(shape, source, tokenizer)


@contextlib.contextmanager
def opened_gguf(path: Path) -> Iterator[Opened]:
    from gpt.hub.gguf.reading import GGUFFile

    with GGUFFile(path) as source:
        shape, tokenizer = source.shape(), source.tokenizer()
        check_layout(shape.layout, source, lambda name: name.startswith("rope_freqs."))
        yield of_source(shape, source, tokenizer)


def of_source(shape: Shape, source, tokenizer: Tokenizer) -> Opened:
    """What is known of the open `source`, whose tensors fit the layout."""
    double = source.dtype(shape.layout["wte.weight"][0].name) == "float64"
    return Opened(shape.config, tokenizer, shape.architecture, double, lambda model: fill(model, shape.layout, source))
