"""How long it takes to learn: a recipe in PyTorch, the same here, and the recipe `modern`.

    python -m benchmarks.time_to_loss                              nanoGPT's on tiny Shakespeare; three seeds, a table
    python -m benchmarks.time_to_loss --text alice                 the article's model on Alice, characters
    python -m benchmarks.time_to_loss --seeds 0 --json > a.json    one of them
    python -m benchmarks.time_to_loss --show a.json b.json --picture loss.png

Each contender is a process of its own. They take turns, a few dozen steps at a time, so that a busier minute of a
shared machine is everybody's. Seconds are those of training steps: start-up, compilation, the first step and
evaluations are left out. The validation loss is measured between turns, over the same windows for all. The time to a
loss lies on the line between the evaluations before and after it. The ratio is that of the times to the loss with which
the first contender ends: steps times the median of a step's time over turns, and what its percentiles make of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from benchmarks.contenders.spread import Spread, busy, conditions, ratio, unsteady_among
from benchmarks.machine import at_least_1, need_torch
from gpt.cli import command_line as cli
from gpt.config.options import TrainConfig
from gpt.config.recipes import find_recipe
from gpt.config.toml import read_toml
from gpt.data.batches import EVAL_VAL, batch_starts, get_batch
from gpt.data.prepare import prepare
from gpt.errors import RunError
from nanograd.device.cores import available_cores

EVAL_BATCHES = 50
TRIAL_STEPS = 20  # of each form of the PyTorch model, to find the fastest


@dataclass(frozen=True)
class Contender:
    recipe: str
    steps: int
    turn: int  # steps
    torch: bool = False
    flags: dict = field(default_factory=dict)  # instead of the recipe's


@dataclass(frozen=True)
class Race:
    """`goal`: the loss that the old recipe ends with; `span`: the losses that the picture shows."""

    contenders: dict[str, Contender]
    losses: tuple[float, ...]
    goal: float
    span: tuple[float, float]


CHARACTERS = {"tokenizer": "char"}
ARTICLES_SIZE = {"n_layer": 2, "batch_size": 32, "tie_weights": False}
RACES = {
    "tinyshakespeare": Race(
        {
            "PyTorch, nanoGPT's recipe": Contender("nanogpt-cpu", 2000, 100, torch=True),
            "nanogpt-cpu": Contender("nanogpt-cpu", 2000, 100),
            "modern, 240 steps": Contender("modern", 240, 20),
            "modern, 1000 steps": Contender("modern", 1000, 50),
        },
        losses=(2.2, 2.0, 1.902, 1.9, 1.8, 1.7),
        goal=1.902,
        span=(1.6, 2.6),
    ),
    "alice": Race(
        {
            "PyTorch, the article's model": Contender("article", 1000, 50, torch=True, flags=CHARACTERS),
            "article": Contender("article", 1000, 50, flags=CHARACTERS),
            "modern, 250 steps": Contender("modern", 250, 25, flags=ARTICLES_SIZE),
            "modern, 400 steps": Contender("modern", 400, 25, flags=ARTICLES_SIZE),
        },
        losses=(2.2, 2.0, 1.8, 1.7, 1.6, 1.547),
        goal=1.547,
        span=(1.45, 2.45),
    ),
}
CONTENDERS = {name: contender for race in RACES.values() for name, contender in race.contenders.items()}


@dataclass(frozen=True)
class Outcome:
    """One seed's curves, and how busy the machine was before and after."""

    curves: dict[str, list[dict]]  # contender: [{"steps", "seconds", "val_loss"}, ...]
    before: float | None = None
    after: float | None = None


def serve(name: str, data_path: str, seed: int, threads: int) -> None:
    """Train as told, a line of steps at a time; answer {"steps", "seconds", "val_loss"} after each."""
    contender = CONTENDERS[name]
    flags = read_toml(TrainConfig, find_recipe(contender.recipe)) | contender.flags
    flags |= {"max_steps": contender.steps, "seed": seed, "data": (data_path,), "backend": "numpy"}
    config = TrainConfig(**flags)
    data = prepare(config.data, config.block_size, kind=config.tokenizer, vocab_size=config.vocab_size)
    step, loss = (of_torch if contender.torch else of_ours)(config, data, threads)
    step()
    print(json.dumps({"steps": 1, "seconds": 0.0, "val_loss": loss()}), flush=True)
    done, seconds = 1, 0.0
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds += time.perf_counter() - start
        done += int(line)
        print(json.dumps({"steps": done, "seconds": seconds, "val_loss": loss()}), flush=True)


def eval_batches(config, data):
    for number in range(EVAL_BATCHES):
        starts = batch_starts(len(data.val), config.batch_size, config.block_size, config.seed, EVAL_VAL, number)
        yield get_batch(data.val, starts, config.block_size)


def of_ours(config, data, threads: int):
    from gpt.model import GPT
    from gpt.training.step import Trainer
    from nanograd import Device

    model = GPT(config.model_config(data.tokenizer.vocab_size), Device("numpy", seed=config.seed))
    trainer = Trainer(model, config, data.train, data.val, threads)
    losses = lambda: float(np.mean([trainer.parallel.loss(x, y) for x, y in eval_batches(config, data)]))  # noqa: E731
    return lambda: float(trainer.train_step().loss), losses


def of_torch(config, data, threads: int):
    """nanoGPT's loop around the fastest of three forms of the model, on one thread or on all."""
    import torch

    def make(form: str):
        from benchmarks.contenders.torch_gpt import TorchGPT

        torch.manual_seed(config.seed)
        model = TorchGPT(config.model_config(data.tokenizer.vocab_size), sdpa=form != "eager")
        for name, parameter in model.named_parameters():
            if name.endswith("c_proj.weight"):
                torch.nn.init.normal_(parameter, std=0.02 / (2 * config.n_layer) ** 0.5)
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
        matrices, vectors = ([p for p in model.parameters() if (p.ndim >= 2) == want] for want in (True, False))
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)
        forward = torch.compile(model) if form == "compiled" else model
        rng, number = np.random.default_rng(config.seed), 0
        from nanograd.optim.schedule import warmup_cosine

        def step():
            nonlocal number
            starts = rng.integers(0, len(data.train) - config.block_size, config.batch_size)
            x, y = (torch.from_numpy(a.astype(np.int64)) for a in get_batch(data.train, starts, config.block_size))
            rate = warmup_cosine(
                number, lr=config.lr, min_lr=config.final_lr, warmup_steps=config.warmup, max_steps=config.max_steps
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = forward(x, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            number += 1
            return loss.item()

        @torch.no_grad()
        def loss():
            batches = ((torch.from_numpy(a.astype(np.int64)) for a in batch) for batch in eval_batches(config, data))
            return float(np.mean([model(x, y).item() for x, y in batches]))

        return step, loss

    times = {}
    for form, used in product(("eager", "sdpa", "compiled"), sorted({1, threads})):
        torch.set_num_threads(used)
        try:
            step, _ = make(form)
            step()
        except Exception as error:  # no compiler, say
            print(f"{form}: {error}", file=sys.stderr)
            continue
        start = time.perf_counter()
        for _ in range(TRIAL_STEPS):
            step()
        times[form, used] = time.perf_counter() - start
    fastest = min(times, key=times.get)
    each = ", ".join(f"{form} on {used}: {s / TRIAL_STEPS * 1e3:.1f} ms" for (form, used), s in times.items())
    print(f"PyTorch, threads: {each}; taking {fastest}", file=sys.stderr, flush=True)
    torch.set_num_threads(fastest[1])
    return make(fastest[0])


def race(data: str, seed: int, threads: int, names: list[str], tell: Callable) -> Outcome:
    """`tell` hears of each {"contender", "steps", "seconds", "val_loss"}, and of {"busy_before"} and {"busy_after"}."""
    before = busy()
    tell({"busy_before": before})
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    processes, curves = {}, {}

    def answer(name):
        line = processes[name].stdout.readline()
        if not line:
            raise RunError(f"the process for {name} ended early")
        curves[name].append(json.loads(line))
        tell({"contender": name} | curves[name][-1])

    try:
        for name in names:
            command = [sys.executable, "-m", "benchmarks.time_to_loss", "--serve", name, "--data", data]
            processes[name] = subprocess.Popen(
                [*command, "--seeds", str(seed), "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            curves[name] = []
            answer(name)
        while any(curve[-1]["steps"] < CONTENDERS[name].steps for name, curve in curves.items()):
            for name, curve in curves.items():
                left = CONTENDERS[name].steps - curve[-1]["steps"]
                if left:
                    turn = CONTENDERS[name].turn - curve[-1]["steps"] % CONTENDERS[name].turn
                    print(min(left, turn), file=processes[name].stdin, flush=True)
                    answer(name)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    after = busy()
    tell({"busy_after": after})
    return Outcome(curves, before, after)


def print_line(seed: int, told: dict) -> None:
    print(json.dumps({"seed": seed} | told), flush=True)


def read_races(paths: list[str]) -> list[Outcome]:
    """What --json wrote, even where it was cut short, by seed."""
    curves, loads = {}, {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            seed = told.pop("seed")
            if "contender" in told:
                curves.setdefault(seed, {}).setdefault(told.pop("contender"), []).append(told)
            else:
                loads.setdefault(seed, {}).update(told)
    of = {seed: loads.get(seed, {}) for seed in curves}
    return [Outcome(curves[seed], of[seed].get("busy_before"), of[seed].get("busy_after")) for seed in curves]


def first_below(curve: list[dict], loss: float) -> tuple[float, float] | None:
    """(steps, seconds) at which the line between evaluations first reaches `loss`."""
    for before, after in pairwise(curve):
        if after["val_loss"] <= loss:
            share = (before["val_loss"] - loss) / (before["val_loss"] - after["val_loss"])
            return tuple(before[what] + share * (after[what] - before[what]) for what in ("steps", "seconds"))
    return None


def step_times(races: list[Outcome], name: str) -> list[float]:
    """Milliseconds of a step of one contender in each turn."""
    pairs = [pair for race in races for pair in pairwise(race.curves[name])]
    return [(b["seconds"] - a["seconds"]) / (b["steps"] - a["steps"]) * 1e3 for a, b in pairs]


def ratios(races: list[Outcome], times: dict[str, Spread]) -> list[str]:
    """A line for each contender that reaches the loss with which the first one ends, the mean over the seeds."""
    first, *others = times
    loss = statistics.mean(race.curves[first][-1]["val_loss"] for race in races)

    def time_to(name):
        found = [first_below(race.curves[name], loss) or () for race in races]
        return times[name].times(statistics.mean(point[0] for point in found)) if all(found) else None

    own = times[first].times(statistics.mean(race.curves[first][-1]["steps"] for race in races))
    reached = {name: time for name in others if (time := time_to(name))}
    return [f"time to {loss:.3f}, {first} / {name}: {ratio(own, time)}" for name, time in reached.items()]


def table(races: list[Outcome], text: str) -> str:
    names = [name for name in RACES[text].contenders if all(name in race.curves for race in races)]
    if not names:
        raise RunError(f"no contender on {text} is in every race")
    lines = [f"| validation loss | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for loss in RACES[text].losses:
        cells = []
        for name in names:
            found = [point for point in (first_below(race.curves[name], loss) for race in races) if point]
            cells.append(cell(found, len(races)))
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    cells = []
    for name in names:
        ends = [race.curves[name][-1]["val_loss"] for race in races]
        cells.append(f"{statistics.mean(ends):.3f} ({min(ends):.3f} to {max(ends):.3f})")
    lines.append(f"| at the end | {' | '.join(cells)} |")
    timings = {name: step_times(races, name) for name in names}
    times = {name: Spread.of(found) for name, found in timings.items()}
    lines.append(f"| ms a step (10th to 90th percentile) | {' | '.join(map(str, times.values()))} |")
    loads = [race.before for race in races], [race.after for race in races]
    return "\n".join([*lines, "", *ratios(races, times), conditions(unsteady_among(timings), *loads)])


def cell(found: list[tuple], n: int) -> str:
    """The mean and the spread of the times to a loss, over the seeds that got there."""
    if not found:
        return ""
    steps, seconds = zip(*found, strict=True)
    spread = f" ({min(seconds):.1f} to {max(seconds):.1f})" if len(found) > 1 else ""
    part = f"; {len(found)} of {n} seeds" if len(found) < n else ""
    return f"{statistics.mean(steps):.0f} steps, {statistics.mean(seconds):.1f} s{spread}{part}"


def draw(races: list[Outcome], text: str, path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, color in zip(RACES[text].contenders, ("#D55E00", "#0072B2", "#009E73", "#CC79A7"), strict=True):
        for number, curves in enumerate(race.curves for race in races if name in race.curves):
            points = curves[name][1:]
            seconds, losses = ([point[what] for point in points] for what in ("seconds", "val_loss"))
            axes.plot(seconds, losses, color=color, lw=1.2, alpha=0.8, label=None if number else name)
    axes.axhline(RACES[text].goal, color="#555555", lw=0.8, ls="--")
    axes.set_xlabel("seconds of training, on the same machine in turn")
    axes.set_ylabel(f"validation loss, {text}")
    axes.set_ylim(*RACES[text].span)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_loss", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", choices=list(RACES), default="tinyshakespeare")
    parser.add_argument("--data", help="where that text is, a file or a name; the text's name unless given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help=f"some of {', '.join(map(repr, CONTENDERS))}")
    parser.add_argument("--threads", type=at_least_1, default=available_cores())
    parser.add_argument("--json", action="store_true", help="the curves, a JSON object a point")
    parser.add_argument("--show", nargs="+", metavar="FILE", help="show what --json wrote, and train nothing")
    parser.add_argument("--picture", metavar="FILE")
    parser.add_argument("--serve", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    names = options.only or list(RACES[options.text].contenders)
    if unknown := [name for name in names if name not in RACES[options.text].contenders]:
        parser.error(f"not a contender on {options.text}: {', '.join(map(repr, unknown))}")
    data = options.data or options.text
    if options.serve:
        serve(options.serve, data, options.seeds[0], options.threads)
        return
    if options.show:
        races = read_races(options.show)
    else:
        if any(CONTENDERS[name].torch for name in names):
            need_torch("; --only leaves it out")
        races = []
        for seed in options.seeds:
            tell = partial(print_line, seed) if options.json else lambda told: None
            races.append(race(data, seed, options.threads, names, tell))
    if not options.json:
        print(table(races, options.text))
    if options.picture:
        draw(races, options.text, options.picture)


if __name__ == "__main__":
    cli.run(main)
