"""What each piece of a recipe is worth: train it whole, and with one piece changed, over several seeds.

    python -m benchmarks.ablations --data tinyshakespeare                    the table of docs/experiments.md
    python -m benchmarks.ablations --only "Muon" "QK-norm" --seeds 0 --json

The loss is that of the last step over 100 batches of the validation split. Trainings run one after the other, on one
thread, so that several commands may run side by side; seconds are therefore not reported.
"""

import argparse
import json
import statistics
from dataclasses import replace

from gpt.config.options import TrainConfig
from gpt.config.recipes import find_recipe
from gpt.config.toml import read_toml
from gpt.data.prepare import prepare
from gpt.model import GPT
from gpt.training.step import Trainer
from nanograd import Device

ADAMW_ALONE = {"optimizer": "adamw", "lr": 4e-3}  # the best rate found for the same blocks without Muon
VARIANTS = {
    "nothing changed": {},
    "LayerNorm instead of RMSNorm": {"norm": "layernorm"},
    "learned positions instead of RoPE": {"position": "learned"},
    "no QK-norm": {"qk_norm": "none"},
    "QK-norm with weights": {"qk_norm": "rms_weight"},
    "GELU instead of ReLU squared": {"activation": "gelu"},
    "SwiGLU instead of ReLU squared": {"activation": "swiglu"},
    "projections not zero at the start": {"zero_init": False},
    "AdamW instead of Muon, lr 4e-3": ADAMW_ALONE,
    "momentum 0.95": {"muon_momentum": 0.95},
    "momentum 0.7": {"muon_momentum": 0.7},
    "rows not scaled": {"muon_scale_rows": False},
    "flat, then linear to zero (wsd)": {"schedule": "wsd"},
    "linear to zero from the start": {"schedule": "wsd", "decay_share": 1.0},
    "cosine to zero": {"min_lr": 0.0},
    "dropout 0.1": {"dropout": 0.1},
    "untied head": {"tie_weights": False},
    "Muon's rate 0.03": {"muon_lr": 0.03},
    "weight decay 0.01": {"weight_decay": 0.01},
}


def loss_of(config: TrainConfig, data) -> float:
    """The validation loss after the training that `config` describes."""
    device = Device("numpy", config.dtype, config.seed)
    model = GPT(config.model_config(data.tokenizer.vocab_size), device)
    trainer = Trainer(model, config, data.train, data.val, threads=1)
    for _ in range(config.max_steps):
        trainer.train_step()
    return trainer.evaluate()["val_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--data", default="tinyshakespeare")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--with", dest="extra", type=json.loads, default={}, help="flags for all, as a JSON object")
    parser.add_argument("--json", action="store_true", help="one JSON object a training")
    options = parser.parse_args()
    flags = read_toml(TrainConfig, find_recipe(options.recipe)) | options.extra
    config = TrainConfig(**(flags | {"data": (options.data,), "max_steps": options.steps, "eval_iters": 100}))
    data = prepare(config.data, config.block_size, kind=config.tokenizer, vocab_size=config.vocab_size)
    for name in options.only:
        losses = []
        for seed in options.seeds:
            losses.append(loss_of(replace(config, **VARIANTS[name], seed=seed), data))
            if options.json:
                print(json.dumps({"variant": name, "seed": seed, "val_loss": losses[-1]}), flush=True)
        if not options.json:
            each = ", ".join(f"{loss:.3f}" for loss in losses)
            print(f"| {name} | {statistics.mean(losses):.3f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
