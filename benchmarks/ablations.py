"""What each piece of a recipe is worth: train it whole, and with one piece changed, over several seeds.

    python -m benchmarks.ablations --data tinyshakespeare                    the table of docs/experiments.md
    python -m benchmarks.ablations --only "no QK-norm" "dropout 0.1" --seeds 0 --json
    python -m benchmarks.ablations --equal_time                              as many steps as take equally long

The loss is that over the whole validation split, after the last step. Trainings run one after the other, on one thread,
so that several commands may run side by side; the time that is compared is therefore that of the processor. With
--equal_time a step of the recipe and one of the variant take turns until the spread of both is small or three times as
many rounds are done; the ratio of their medians comes with what the 10th and 90th percentiles make of it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.contenders.spread import Spread, busy, conditions, ratio, until_steady
from benchmarks.machine import at_least_1
from gpt.cli import command_line as cli
from gpt.config.options import TrainConfig
from gpt.config.recipes import find_recipe
from gpt.config.toml import read_toml
from gpt.data.batches import TRAIN_STEP, batch_starts, get_batch
from gpt.data.prepare import prepare
from gpt.model import GPT
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.optim.arena import arenas_of

ROUNDS = 36  # of a step each, to compare their times


@dataclass(frozen=True)
class Variant:
    """`flags` instead of the recipe's. `momentum` and `batch` give that of a step from its share of the run, 0 to 1.
    `average`: what is evaluated is a moving average of the weights, of which each step keeps this share."""

    flags: dict = field(default_factory=dict)
    momentum: Callable[[float], float] | None = None
    batch: Callable[[float], int] | None = None
    average: float = 0.0


ADAMW_ALONE = {"optimizer": "adamw", "lr": 4e-3}  # the best rate found for the same blocks without Muon
VARIANTS = {
    "nothing changed": Variant(),
    "LayerNorm instead of RMSNorm": Variant({"norm": "layernorm"}),
    "learned positions instead of RoPE": Variant({"position": "learned"}),
    "no QK-norm": Variant({"qk_norm": "none"}),
    "QK-norm with weights": Variant({"qk_norm": "rms_weight"}),
    "GELU instead of ReLU squared": Variant({"activation": "gelu"}),
    "SwiGLU instead of ReLU squared": Variant({"activation": "swiglu"}),
    "projections zero at the start": Variant({"zero_init": True}),
    "AdamW instead of Muon, lr 4e-3": Variant(ADAMW_ALONE),
    "momentum 0.95": Variant({"muon_momentum": 0.95}),
    "momentum 0.7": Variant({"muon_momentum": 0.7}),
    "momentum from 0.6 to 0.9": Variant(momentum=lambda share: 0.6 + 0.3 * share),
    "momentum from 0.9 to 0.6": Variant(momentum=lambda share: 0.9 - 0.3 * share),
    "rows not scaled": Variant({"muon_scale_rows": False}),
    "flat, then linear to zero (wsd)": Variant({"schedule": "wsd"}),
    "linear to zero from the start": Variant({"schedule": "wsd", "decay_share": 1.0}),
    "cosine to zero": Variant({"min_lr": 0.0}),
    "moving average of the weights, 0.9": Variant(average=0.9),
    "the same with a constant rate": Variant({"schedule": "constant"}, average=0.95),
    "batches that grow, from half to three halves": Variant(batch=lambda share: (1, 2, 3)[min(int(3 * share), 2)]),
    "dropout 0.1": Variant({"dropout": 0.1}),
    "untied head": Variant({"tie_weights": False}),
    "tied head": Variant({"tie_weights": True}),
    "Muon's rate 0.03": Variant({"muon_lr": 0.03}),
    "Muon's rate 0.014": Variant({"muon_lr": 0.014}),
    "weight decay 0.01": Variant({"weight_decay": 0.01}),
    "warmup of 10 steps": Variant({"warmup_steps": 10}),
    "two key/value heads for four": Variant({"n_kv_head": 2}),
}


class VariantTrainer(Trainer):
    """A Trainer whose momentum and batches follow a Variant."""

    def __init__(self, variant: Variant, *arguments, **settings):
        self.variant = variant
        super().__init__(*arguments, **settings)

    def size(self, step: int) -> int:
        """The windows of a step's batch, those of all ranks."""
        return self.config.batch_size * self.variant.batch(step / self.config.max_steps) // 2

    def batch(self, step: int):
        if self.variant.batch is None:
            return super().batch(step)
        starts = batch_starts(len(self.train), self.size(step), self.block_size, self.config.seed, TRAIN_STEP, step)
        return get_batch(self.train, starts, self.block_size)

    @property
    def rank_batch(self) -> int:
        if self.variant.batch is None:
            return super().rank_batch
        return self.size(self.step)

    def train_step(self):
        if self.variant.momentum is not None:
            self.optimizer.momentum = self.variant.momentum(self.step / self.config.max_steps)
        return super().train_step()


def trainer_of(variant: Variant, config: TrainConfig, data) -> Trainer:
    device = Device("numpy", config.dtype, config.seed)
    model = GPT(config.model_config(data.tokenizer.vocab_size), device)
    return VariantTrainer(variant, model, config, data.train, data.val, threads=1)


def loss_of(variant: Variant, config: TrainConfig, data) -> float:
    """The validation loss after the training that `config` and `variant` describe."""
    trainer = trainer_of(variant, config, data)
    arenas = arenas_of(trainer.model)
    averages = [arena.values.copy() for arena in arenas]
    for _ in range(config.max_steps):
        trainer.train_step()
        if variant.average:
            keep = min(variant.average, trainer.step / (trainer.step + 10))  # the first steps soon count for nothing
            for average, arena in zip(averages, arenas, strict=True):
                average *= keep
                average += (1 - keep) * arena.values
    if variant.average:
        for average, arena in zip(averages, arenas, strict=True):
            arena.values[...] = average
    return trainer.whole_loss(data.val)


def step_times(sides: dict[str, tuple[Variant, TrainConfig]], data) -> dict:
    """{"ms": {side: processor milliseconds of a step, a Spread}, "unsteady", "busy"}, the sides in turn.

    Batches that grow have the usual size in the middle.
    """
    before = busy()
    trainers = {
        name: trainer_of(replace(variant, batch=None), replace(config, max_steps=10**6), data)
        for name, (variant, config) in sides.items()
    }
    ms = {name: [] for name in trainers}

    def take_turns() -> None:
        for name, trainer in trainers.items():
            start = time.process_time()
            trainer.train_step()
            ms[name].append((time.process_time() - start) * 1e3)

    take_turns()  # warms up
    for found in ms.values():
        found.clear()
    unsteady = until_steady(take_turns, lambda: ms, ROUNDS)
    spreads = {name: Spread.of(found) for name, found in ms.items()}
    return {"ms": spreads, "unsteady": unsteady, "busy": [before, busy()]}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--data", default="tinyshakespeare")
    parser.add_argument("--steps", type=at_least_1, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--with", dest="extra", type=json.loads, default={}, help="flags for all, as a JSON object")
    parser.add_argument("--equal_time", action="store_true", help="so many steps as take the time of --steps unchanged")
    parser.add_argument("--json", action="store_true", help="one JSON object a training")
    options = parser.parse_args(argv)
    flags = read_toml(TrainConfig, find_recipe(options.recipe)) | options.extra
    config = TrainConfig(**(flags | {"data": (options.data,), "max_steps": options.steps}))
    data = prepare(config.data, config.block_size, kind=config.tokenizer, vocab_size=config.vocab_size)
    for name in options.only:
        variant, losses, steps = VARIANTS[name], [], options.steps
        changed = replace(config, **variant.flags)
        if options.equal_time:
            found = step_times({"the recipe": (Variant(), config), name: (variant, changed)}, data)
            plain, own = found["ms"].values()
            steps = round(steps * plain.median / own.median)
            print(
                f"{name}: {own} ms a step of the processor, over the recipe's {plain}: {ratio(own, plain)}; "
                f"{conditions(found['unsteady'], *found['busy'])}",
                file=sys.stderr,
                flush=True,
            )
        for seed in options.seeds:
            losses.append(loss_of(variant, replace(changed, seed=seed, max_steps=steps), data))
            if options.json:
                told = {"variant": name, "steps": steps, "seed": seed, "val_loss": losses[-1]}
                print(json.dumps(told), flush=True)
        if not options.json:
            each = ", ".join(f"{loss:.3f}" for loss in losses)
            print(f"| {name} | {steps} | {statistics.mean(losses):.3f} | {each} |", flush=True)


if __name__ == "__main__":
    cli.run(main)
