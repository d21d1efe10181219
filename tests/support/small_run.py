"""A run's folder as train.py leaves one, with a tiny model that was never trained."""

import dataclasses
from pathlib import Path

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.runs.checkpoint import save_checkpoint
from nanograd.device.device import Device
from tokenizers import CharTokenizer

TEXT = "abcdefgh .\n好"


def write_run(folder, text=TEXT, dtype="float32", **shape):
    """Write the run and return its folder. `shape` goes over that of the model."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CharTokenizer.train(text)
    tokenizer.save(folder)
    config = GPTConfig(**({"vocab_size": tokenizer.vocab_size, "block_size": 16, "n_layer": 2, "n_embd": 16} | shape))
    model = GPT(config, Device("numpy", dtype=dtype, seed=1))
    state = {"model": dataclasses.asdict(config)}
    for step, val_loss in ((10, 2.0), (20, 3.0)):
        for parameter in model.parameters():
            parameter.value[...] *= 1.5
        save_checkpoint(folder, step, model.state_dict(), {}, state, val_loss)
    (folder / "config.toml").write_text("", encoding="utf-8")
    return folder
