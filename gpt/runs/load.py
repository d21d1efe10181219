"""A run's folder -> the trained model in it, ready to be used, with the tokenizer it was trained with."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gpt.config.options import GPTConfig, TrainConfig
from gpt.config.toml import read_run_config
from gpt.data.prepare import Data, prepare_for_run
from gpt.errors import RunError, UsageError
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, load_checkpoint
from gpt.runs.folder import demand_run
from gpt.tokenizers import Tokenizer, load_tokenizer
from nanograd import Device


def load_model(
    run_dir: str | os.PathLike, which: str | int = "best", device: Device | str = "auto"
) -> tuple[GPT, Tokenizer, Checkpoint]:
    """The model of one checkpoint of a run ("best", "latest" or a step), its tokenizer, and the checkpoint without the
    weights, which are in the model.

    `device` is a Device, or the name of a backend; then the model computes in the precision its weights were
    saved in. The model is in evaluation mode: dropout is off.

    Raises UsageError if there is no run in `run_dir`, RunError or TokenizerFileError if what is there is damaged
    or does not fit together, BackendUnavailable.
    """
    config, tokenizer, checkpoint = read_run(run_dir, which)
    if isinstance(device, str):
        double = checkpoint.model_state["wte.weight"].dtype == "float64"
        device = Device(device, dtype="float64" if double else "float32")
    model = blank_model(config, device)
    hand_over(checkpoint.model_state, model, checkpoint.path)
    model.eval()
    return model, tokenizer, checkpoint


def blank_model(config: GPTConfig, device: Device) -> GPT:
    """A model whose matrices hold nothing yet: drawing what is overwritten takes seconds, and memory twice."""
    with device.blank_weights():
        return GPT(config, device)


def hand_over(state: dict[str, np.ndarray], model: GPT, path: Path) -> None:
    """Empty `state` into the model: NumPy arrays of its dtype become its parameters, so that weights are held once.

    The model's context may be shorter than that of the learned positions. Raises RunError, with the `path` that the
    tensors are from, where they do not fit.
    """
    if "wpe.weight" in state and model.config.position == "learned":
        state["wpe.weight"] = state["wpe.weight"][: model.config.block_size]
    try:
        if state.keys() != dict(model.named_parameters()).keys():
            model.load_state_dict(state)
        while state:  # one by one, so that on a GPU no tensor is on the host for long
            name, value = state.popitem()
            model.load_state_dict({name: value}, strict=False, assign=True)
    except ValueError as error:
        raise RunError(f"{path} does not fit: {error}") from None


def read_run(run_dir: str | os.PathLike, which: str | int) -> tuple[GPTConfig, Tokenizer, Checkpoint]:
    """The shape of a run's model, its tokenizer, and the checkpoint with its weights. Raises as `load_model` does."""
    run_dir = Path(run_dir)
    demand_run(run_dir)
    checkpoint = load_checkpoint(run_dir, which, optimizer=False)
    tokenizer = load_tokenizer(run_dir)
    config = model_config(checkpoint)
    if config.vocab_size != tokenizer.vocab_size:
        raise RunError(
            f"{run_dir} does not fit together: its tokenizer has {tokenizer.vocab_size} tokens,"
            f" the model of {checkpoint.path.name} {config.vocab_size}"
        )
    return config, tokenizer, checkpoint


def own_data(
    run_dir: str | os.PathLike, tokenizer: Tokenizer, checkpoint: Checkpoint | None = None, data: Sequence[str] = ()
) -> Data:
    """The text that a run was trained and validated on, as its own tokens; `data` says where it is by now.

    Raises UsageError if the text is not where it was or, where there is a checkpoint to compare with, is another
    one by now; RunError as `prepare` does.
    """
    run_dir = Path(run_dir)
    config = read_run_config(TrainConfig, run_dir / "config.toml")
    return prepare_for_run(config, run_dir, tokenizer, checkpoint and checkpoint.state, data, progress=False)


def find_text(
    run_dir: str | os.PathLike, tokenizer: Tokenizer, checkpoint: Checkpoint | None, data: Sequence[str] = ()
) -> tuple[Data | None, str]:
    """The run's text, or the one that `data` names, and what is wrong with it: "" as a rule.

    None where there is no text, and the reason; a text that `data` names is taken even if it is another one.
    """
    try:
        return own_data(run_dir, tokenizer, checkpoint, data), ""
    except (UsageError, RunError) as error:
        if not data:
            return None, f"{error}; --data FILE says where it is"
        found = own_data(run_dir, tokenizer, None, data)
        return found, f"{found.corpus.label} is not the text that this run was trained on"


def model_config(checkpoint: Checkpoint) -> GPTConfig:
    """The shape of a checkpoint's model, checked against its tensors before anything of that size is allocated.

    Raises RunError if it is missing, not possible, or not that of the tensors.
    """
    where = checkpoint.path / "state.json"
    if "model" not in checkpoint.state:
        raise RunError(f"{where} does not say what shape the model has")
    try:
        config = GPTConfig.from_dict(checkpoint.state["model"])
    except UsageError as error:
        raise RunError(f"{where} describes no model: {error}") from None
    try:
        check_shapes(config, {name: tensor.shape for name, tensor in checkpoint.model_state.items()})
    except ValueError as error:
        raise RunError(f"{checkpoint.path} does not fit: {error}") from None
    return config


def check_shapes(config: GPTConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the tensors that a model's size depends on have the shapes that `config` asks for."""
    expected = {"wte.weight": (config.vocab_size, config.n_embd)}
    if config.position == "learned":
        expected["wpe.weight"] = (config.block_size, config.n_embd)
    qkv = (config.n_head + 2 * config.kv_heads) * config.head_channels
    for layer in range(config.n_layer):
        expected[f"h.{layer}.attn.c_attn.weight"] = (config.n_embd, qkv)
        expected[f"h.{layer}.mlp.c_fc.weight"] = (config.n_embd, config.inner_channels)
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            found = f"shape {shapes[name]}" if name in shapes else "no such tensor"
            raise ValueError(f"{name} should have shape {shape}, and it has {found}")
