"""What a checkpoint notes about its run beside the numbers, and the check that a resumed run is the same run.

config.toml says how a run was started, but it is a text that people edit. So each checkpoint carries, under its own
hash, what must not change: the shape of the model, the flags that decide the numbers, the text and the tokenizer.
"""

from dataclasses import asdict, fields

from gpt.config.flags import rule_of
from gpt.config.options import GPTConfig, TrainConfig, may_become
from gpt.data.prepare import Data
from gpt.errors import RunError, UsageError
from gpt.runs.checkpoint import Checkpoint
from gpt.training.loss_spikes import LossSpikes


def run_state(config: TrainConfig, model: GPTConfig, data: Data, spikes: LossSpikes) -> dict:
    return {
        "model": asdict(model),
        "flags": fixed_flags(config),
        **data.hashes,
        "tokenizer": data.tokenizer.fingerprint,
        "spikes": spikes.state_dict(),
    }


def fixed_flags(config: TrainConfig) -> dict:
    """The flags that a resumed run must keep, without those that only start one run."""
    return {f.name: getattr(config, f.name) for f in fields(config) if rule_of(f).saved and not rule_of(f).resume}


def check_flags(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Raise UsageError, naming the flag, if `config` asks the run of the checkpoint to become another one; RunError
    if the checkpoint does not say what it was."""
    where, state = checkpoint.path / "state.json", checkpoint.state
    kinds = {"model": dict, "flags": dict, "corpus_sha256": str, "tokenizer": str, "spikes": dict}
    for name, kind in kinds.items():
        if not isinstance(state.get(name), kind):
            raise RunError(f"{where} does not describe a run: {name} is missing or of the wrong kind")
    for name, value in fixed_flags(config).items():
        before = state["flags"].get(name, TrainConfig.__dataclass_fields__[name].default)
        if not may_become(name, before, value):
            raise UsageError(
                f"--{name} cannot change on --resume: {checkpoint.path} has {before}, not {value}; give --{name} "
                f"{before}, or start a new run"
            )


def check_tokenizer(tokenizer, checkpoint: Checkpoint) -> None:
    """Raise RunError unless this is the tokenizer that the run of the checkpoint had."""
    if tokenizer.fingerprint != checkpoint.state["tokenizer"]:
        raise RunError(
            f"the tokenizer in {checkpoint.path.parents[1]} is not the one that {checkpoint.path.name} was trained "
            "with: put that back, or start a new run"
        )
