"""Where the time of a training step goes, operation by operation, in one thread.

    python -m benchmarks.operations [--shape article]

One thread does half of the shape's batch, which is what each of two threads does. Every operation is wrapped in a
clock of this thread's CPU time; what an inner operation takes is not counted for the outer one. Matrix products are
a row of their own, and so is what remains: Python, calls into NumPy, buffers, small sums. Steps are measured until the
spread of their times and of their products' is small or three times as many rounds are done; figures are medians over
steps, with the 10th and the 90th percentile, and shares those of the medians.
"""

import argparse
import time
from collections import defaultdict

import numpy as np

from benchmarks.contenders.contender import batch_of
from benchmarks.contenders.shapes import SHAPES
from benchmarks.contenders.spread import Spread, busy, conditions, ratio, unsteady_among, until_steady
from benchmarks.machine import at_least_1, describe_machine
from gpt.cli import command_line as cli

OPERATIONS = {
    "nanograd.layers.attention": ["masked_exp", "masked_exp_backward", "dot_channels"],
    "nanograd.layers.layernorm": ["normalize", "normalize_backward"],
    "nanograd.device.reductions": ["add_rows"],
    "nanograd.layers.linear": ["add_positions"],
    "nanograd.layers.activations": ["relu", "relu_backward", "gelu"],
    "nanograd.layers.embedding": ["gather_rows", "scatter_add_rows"],
    "nanograd.layers.cross_entropy": ["cross_entropy", "cross_entropy_backward"],
    "nanograd.layers.residual": ["finish_branch"],
    "nanograd.optim.adamw": ["adamw_update", "square_sum"],
}
METHODS = {
    ("nanograd.layers.attention", "Attention"): ("forward", "backward"),
    ("nanograd.layers.activations", "GELU"): ("backward",),
}
STEPS_A_ROUND = 10
STEP, PRODUCTS, REST = "a step", "matrix products", "everything else"


class Clock:
    """Adds up the own time of nested operations."""

    def __init__(self):
        self.ms, self.calls, self._inner = defaultdict(float), defaultdict(int), []

    def wrap(self, owner, name: str, label: str) -> None:
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            self._inner.append(0.0)
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - start
                self.ms[label] += (spent - self._inner.pop()) * 1e3
                self.calls[label] += 1
                if self._inner:
                    self._inner[-1] += spent

        setattr(owner, name, timed)

    def take(self) -> tuple[dict[str, float], dict[str, int]]:
        """(milliseconds, calls) of each operation since the last time, and begin anew."""
        taken = dict(self.ms), dict(self.calls)
        self.ms.clear()
        self.calls.clear()
        return taken


def measure(shape_name: str, rounds: int) -> dict:
    """{"ms": {operation: that of each step}, "calls": {operation: in a step}, "unsteady", "busy"}.

    The whole step is among the operations, and so is what remains of it.
    """
    from importlib import import_module

    from gpt.model import GPT
    from nanograd import Device
    from nanograd.device.threads import limit_blas
    from nanograd.optim.adamw import AdamW, grad_norm

    limit_blas(1)
    shape = SHAPES[shape_name]
    model = GPT(shape.model, Device("numpy"))
    optimizer = AdamW(model)
    idx, targets = (array[: shape.batch_size // 2] for array in batch_of(shape))
    clock = Clock()

    def step():
        model.zero_grad()
        model(idx, targets, keep_logits=False)
        model.backward()
        grad_norm(model)
        optimizer.step()

    for _ in range(3):
        step()
    for module, names in OPERATIONS.items():
        for name in names:
            clock.wrap(import_module(module), name, name)
    clock.wrap(np, "matmul", PRODUCTS)
    clock.wrap(import_module("nanograd.device.blas"), "add_product", PRODUCTS)
    for (module, kind), methods in METHODS.items():
        for method in methods:
            clock.wrap(getattr(import_module(module), kind), method, f"{kind}.{method}, the rest")
    clock.wrap(model, "zero_grad", "zero_grad")
    ms, calls = defaultdict(list), {}

    def take_turns() -> None:
        for _ in range(STEPS_A_ROUND):
            start = time.thread_time()
            step()
            total = (time.thread_time() - start) * 1e3
            operations, counts = clock.take()
            calls.update(counts)
            for label, spent in {**operations, REST: total - sum(operations.values()), STEP: total}.items():
                ms[label].append(spent)

    before = busy()
    until_steady(take_turns, lambda: {label: ms[label] for label in (STEP, PRODUCTS)}, rounds)
    return {"ms": dict(ms), "calls": calls, "unsteady": unsteady_among(ms), "busy": [before, busy()]}


def table(result: dict) -> str:
    spreads = {label: Spread.of(found) for label, found in result["ms"].items()}
    step = spreads.pop(STEP)
    lines = ["| operation | ms (10th to 90th percentile) | calls | share |", "|---|---|---|---|"]
    for label, spread in sorted(spreads.items(), key=lambda row: (row[0] == REST, -row[1].median)):
        lines.append(f"| {label} | {spread} | {result['calls'].get(label, '')} | {spread.median / step.median:.1%} |")
    lines += ["", f"a step: {step} ms; over its matrix products {ratio(step, spreads[PRODUCTS])}"]
    return "\n".join([*lines, conditions(result["unsteady"], *result["busy"])])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="article")
    parser.add_argument("--rounds", type=at_least_1, default=4, help=f"of {STEPS_A_ROUND} steps each")
    arguments = parser.parse_args(argv)
    result = measure(arguments.shape, arguments.rounds)
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()), end="\n\n")
    print(f"{arguments.shape}, half a batch in one thread\n\n{table(result)}")


if __name__ == "__main__":
    cli.run(main)
