"""Small runs for tests: real ones that train in a second, and made-up ones of a few lines of metrics."""

import json
from pathlib import Path

from gpt.config.options import TrainConfig
from gpt.config.toml import dump_toml

TALE = (
    "Once a red fox met an old bear by the river. The bear had a boat, and the fox had a net.\n"
    '"Let us fish," said the fox. "Let us eat," said the bear. So they sat, and the moon came up.\n'
)
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "threads": 1, "backend": "numpy"}
QUICK = SHAPE | {"max_steps": 8, "eval_interval": 2, "eval_iters": 2, "log_interval": 1, "sample_tokens": 0}


def train(folder: Path, text: str = TALE * 8, **flags) -> Path:
    """Train on `text` in `folder`/run; that folder."""
    from gpt.training import run as training

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    run_dir = folder / "run"
    settings = QUICK | {"tokenizer": "char", "data": (str(folder / "text.txt"),), "out_dir": str(run_dir)} | flags
    assert training.main(TrainConfig(**settings)) == 0
    return run_dir


def make_up(folder: Path, lines: list[dict], **flags) -> Path:
    """A run's folder with these lines of metrics and no model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(dump_toml(TrainConfig(**flags)), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder
