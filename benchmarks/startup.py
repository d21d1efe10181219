"""From the command line to the first step: `python train.py` against PyTorch's import and first step.

    python -m benchmarks.startup [--rounds N]

Ours is the whole command with a cached tokenizer, from the start of the interpreter until the first step's line
stands in metrics.jsonl: reading the text, its tokens, building the model, the lock, config.toml, the losses and samples
before the first step, and that step. PyTorch's is `import torch`, the model of the same shape, AdamW, one step on
random ids, and nothing else. They take turns, until the spread of both is
small; figures are medians, with the 10th and the 90th percentile.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contenders.spread import Spread, busy, conditions, ratio, until_steady
from benchmarks.machine import at_least_1, need_torch
from gpt.cli import command_line as cli
from gpt.errors import RunError

ROOT = Path(__file__).parent.parent

TORCH = """
import torch
from benchmarks.contenders.torch_gpt import TorchGPT
from gpt.config.options import GPTConfig
torch.set_num_threads(THREADS)
model = TorchGPT(GPTConfig(512))
optimizer = model.adamw()
ids = torch.randint(512, (32, 65))
loss = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
loss.backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
loss.item()
"""


def seconds_to_first_step(folder: Path, environment: dict) -> float:
    """Start train.py and watch for the line of step 1 in metrics.jsonl; then let it end."""
    metrics = folder / "metrics.jsonl"
    start = time.perf_counter()
    command = [sys.executable, "train.py", "--max_steps", "100000", "--out_dir", str(folder), "--overwrite"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while not (metrics.exists() and b'{"step": 1,' in metrics.read_bytes()):
            if process.poll() is not None:
                raise RunError(f"train.py ended with exit code {process.returncode} before its first step")
            time.sleep(0.002)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def seconds_of_torch(environment: dict) -> float:
    from nanograd.device.cores import available_cores

    start = time.perf_counter()
    code = TORCH.replace("THREADS", str(available_cores()))
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    return time.perf_counter() - start


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=at_least_1, default=9)
    rounds = parser.parse_args(argv).rounds
    need_torch()
    before = busy()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NANOGRAD_CACHE": str(Path(folder) / "cache")}
        timings = {"train.py to its first step": [], "import torch and a first step": []}

        def take_turns() -> None:
            ours, torch = timings.values()
            ours.append(seconds_to_first_step(Path(folder) / f"run-{len(ours)}", environment))
            torch.append(seconds_of_torch(environment))

        take_turns()  # trains the tokenizer and warms the disk's cache
        for found in timings.values():
            found.clear()
        unsteady = until_steady(take_turns, lambda: timings, rounds)
    own, other = map(Spread.of, timings.values())
    for what, spread in zip(timings, (own, other), strict=True):
        print(f"{what}: {spread} s")
    print(f"ratio {ratio(own, other)}; {conditions(unsteady, before, busy())}")


if __name__ == "__main__":
    cli.run(main)
