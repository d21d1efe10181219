"""Where the time of a training step goes, operation by operation, in one thread.

    python -m benchmarks.operations [--shape article]

One thread does half of the shape's batch, which is what each of two threads does. Every operation is wrapped in a
clock of this thread's CPU time; what an inner operation takes is not counted for the outer one. Matrix products are
a row of their own, and so is what remains: Python, calls into NumPy, buffers, small sums.
"""

import argparse
import time
from collections import defaultdict

import numpy as np

from benchmarks.contenders.contender import batch_of
from benchmarks.contenders.shapes import SHAPES
from benchmarks.machine import describe_machine

OPERATIONS = {
    "nanograd.layers.attention": ["masked_exp", "masked_exp_backward", "dot_channels"],
    "nanograd.layers.layernorm": ["normalize", "normalize_backward"],
    "nanograd.layers.linear": ["add_rows", "add_positions"],
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


def measure(shape_name: str, steps: int) -> tuple[Clock, float]:
    """The clock after `steps` steps, its figures divided by them, and the milliseconds of a step."""
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
    clock.wrap(np, "matmul", "matrix products")
    clock.wrap(import_module("nanograd.device.blas"), "add_product", "matrix products")
    for (module, kind), methods in METHODS.items():
        for method in methods:
            clock.wrap(getattr(import_module(module), kind), method, f"{kind}.{method}, the rest")
    clock.wrap(model, "zero_grad", "zero_grad")
    start = time.thread_time()
    for _ in range(steps):
        step()
    total = (time.thread_time() - start) * 1e3 / steps
    for label in clock.ms:
        clock.ms[label] /= steps
        clock.calls[label] //= steps
    return clock, total


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="article")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    clock, total = measure(arguments.shape, arguments.steps)
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()), end="\n\n")
    print(f"{arguments.shape}, half a batch in one thread: {total:.2f} ms a step\n")
    print("| operation | ms | calls | share |\n|---|---|---|---|")
    rows = sorted(clock.ms.items(), key=lambda row: -row[1])
    rows.append(("everything else", total - sum(clock.ms.values())))
    for label, ms in rows:
        print(f"| {label} | {ms:.2f} | {clock.calls.get(label, '')} | {ms / total:.1%} |")


if __name__ == "__main__":
    main()
