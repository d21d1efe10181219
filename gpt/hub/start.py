"""Where a run starts: `train.py --init_from MODEL` takes the weights, the shape and the tokenizer of another model.

The optimiser begins anew, and the data, the learning rate, dropout and all else that a run decides are its own. So is
the context: a shorter one keeps the first of the learned positions. What belongs to the weights cannot be chosen a
second time, and a flag that asks for something else is refused by its name.

`completed` fills in the flags before the run's configuration is made, so that config.toml tells all of them, and
`open_start` opens the weights when the run begins.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from gpt.config.model_flags import ModelFlags
from gpt.config.options import GPTConfig, TrainConfig
from gpt.errors import UsageError
from gpt.hub.load import Opened, opened
from gpt.runs.load import blank_model
from nanograd import Device

FREE = "dropout", "block_size"  # of the model's flags: those that a new run may choose
RESOLVED = {"n_kv_head": "kv_heads", "head_dim": "head_channels", "n_inner": "inner_channels"}  # None has a meaning
LARGE = 10_000_000  # parameters: such a model knows much that a high learning rate would make it forget
GENTLE = {"lr": 5e-5, "batch_size": 4}  # defaults for a large one


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a new run that starts from given["init_from"]: those that were given, and the model's own.

    Of a run the context is kept, unless another is given; the context of other models is far longer than what a
    training has memory for, so there the flag's default counts.
    Raises UsageError for a flag that does not go with the model, and as `gpt.load` does.
    """
    name = given["init_from"]
    with opened(name) as source:
        check_shape(name, source, {flag: given[flag] for flag in names_of_shape() if flag in given})
        check_tokenizer(name, source, given.get("tokenizer"), given.get("vocab_size"))
        shape = {flag: getattr(source.config, flag) for flag in names_of_shape()}
        context = source.config.block_size
        shape["block_size"] = context if source.ours else min(context, ModelFlags.block_size)
        large = blank_model(source.config, Device("numpy")).n_parameters() > LARGE
    if given.get("out_dir") and os.path.realpath(given["out_dir"]) == os.path.realpath(name):
        raise UsageError(f"--out_dir {given['out_dir']} is the run to start from: name another folder, or --resume it")
    kind = "char" if source.tokenizer.kind == "char" else "bpe"
    place = {"init_from": os.path.abspath(name) if os.path.exists(name) else name}
    return shape | (GENTLE if large else {}) | {"tokenizer": kind} | dict(given) | {"vocab_size": None} | place


@contextlib.contextmanager
def open_start(config: TrainConfig) -> Iterator[Opened | None]:
    """What a new run starts from, None where its weights are drawn. Raises UsageError if its shape is another one."""
    if config.init_from is None:
        yield None
        return
    with opened(config.init_from) as source:
        wanted = config.model_config(source.config.vocab_size)
        check_shape(config.init_from, source, {flag: resolved(wanted, flag) for flag in names_of_shape()})
        check_tokenizer(config.init_from, source, config.tokenizer, config.vocab_size)
        yield source


def names_of_shape() -> list[str]:
    return [field.name for field in fields(ModelFlags)]


def resolved(config: GPTConfig, flag: str) -> Any:
    return getattr(config, RESOLVED.get(flag, flag))


def check_shape(name: str, source: Opened, wanted: Mapping[str, Any]) -> None:
    """Raise UsageError for the first of these flags that the weights cannot have."""
    for flag, value in wanted.items():
        there = resolved(source.config, flag)
        if flag == "block_size" and value > there and source.config.position == "learned":
            raise UsageError(f"--block_size {value} is more than the {there} positions that {name} has learned")
        if flag not in FREE and value != there:
            raise UsageError(
                f"--{flag} {value} does not go with --init_from {name}, whose model has {there}: leave the flag out"
            )


def check_tokenizer(name: str, source: Opened, kind: str | None, vocab_size: int | None) -> None:
    """The same for the tokenizer, whose ids the weights stand for."""
    tokenizer = source.tokenizer
    if tokenizer.kind == "none":
        raise UsageError(f"--init_from {name} has no tokenizer, and weights are of no use without theirs")
    if kind is not None and (kind == "char") != (tokenizer.kind == "char"):
        raise UsageError(f"--tokenizer {kind} does not go with --init_from {name}, whose tokenizer is {tokenizer.kind}")
    if vocab_size not in (None, tokenizer.vocab_size):
        raise UsageError(
            f"--vocab_size {vocab_size} does not go with --init_from {name}, whose tokenizer has {tokenizer.vocab_size}"
        )
