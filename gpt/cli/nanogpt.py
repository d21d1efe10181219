"""nanoGPT's flags that have another name here, or no meaning: what to put in their place, or what to do instead.

Most of its names work as they are (the aliases in gpt/config/options.py). What asks for something that happens here
anyway is left out; what cannot be is answered in one line.
"""

from collections.abc import Container
from typing import Any

from gpt.errors import UsageError

ANSWERS = {  # what is answered if the value is not the harmless one: (harmless, answer)
    "compile": ("false", "there is nothing to compile here"),
    "eval_only": ("false", "python -m gpt.evaluate RUN_DIR evaluates a run"),
    "always_save_checkpoint": ("true", "the best and the latest checkpoints are kept: --keep says how many"),
    "wandb_log": ("false", "a run writes metrics.jsonl, and python -m gpt.pictures draws it"),
    "wandb_project": ("", "a run writes metrics.jsonl, and python -m gpt.pictures draws it"),
    "wandb_run_name": ("", "--out_dir names a run"),
}


def is_known(name: str) -> bool:
    return name in ANSWERS or name in ("device", "dataset", "decay_lr", "init_from", "dtype")


def translate(name: str, value: str, known: Container[str]) -> list[str] | None:
    """The arguments that stand for nanoGPT's --name=value in a command with the `known` flags.

    None for a name that is not nanoGPT's. Raises UsageError, with the answer, for what has no place here.
    """
    plain = value.strip("'\"").lower()
    if name in ANSWERS:
        harmless, answer = ANSWERS[name]
        if plain != harmless:
            raise UsageError(f"--{name} is nanoGPT's: {answer}; leave the flag out")
        return []
    if name == "device" and "backend" in known:
        return _device(plain)
    if name == "dataset" and "data" in known:
        return [f"--data={value}"]
    if name == "decay_lr" and "schedule" in known:
        return [] if plain == "true" else ["--schedule=constant"]
    if name == "init_from":  # of its sample.py
        if plain != "resume":
            raise UsageError(f"--init_from {value}: --out_dir names the model here")
        return []
    if name == "dtype" and "prompt" in known:  # of its sample.py
        if plain != "float32":
            raise UsageError("--dtype is not chosen for sampling: a run is sampled in the numbers it was saved in")
        return []
    return None


def start_of_run(given: dict[str, Any]) -> dict[str, Any]:
    """train.py's flags with nanoGPT's two words for --init_from read: scratch is none, resume is --resume."""
    if given.get("init_from") not in ("scratch", "resume"):
        return given
    rest = {name: value for name, value in given.items() if name != "init_from"}
    return rest | {"resume": True} if given["init_from"] == "resume" else rest


def _device(value: str) -> list[str]:
    if value == "cpu":
        return ["--backend=numpy"]
    if value in ("cuda", "cuda:0"):
        return ["--backend=cupy"]
    if value.startswith("cuda:"):
        raise UsageError(f"--device {value}: CUDA_VISIBLE_DEVICES={value[5:]} in the environment chooses that GPU")
    raise UsageError(f"--device {value}: computing is on the CPU (--backend numpy) or a CUDA GPU (--backend cupy)")
