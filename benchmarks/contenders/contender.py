"""What is measured, each in a process of its own that works only when told to.

`Contender(...)` starts `python -m benchmarks.contenders KIND SHAPE THREADS`. The process sets up, warms up and says
so; then for every number of repetitions it is sent it answers with the milliseconds of each and its peak
memory. So contenders take turns on a quiet machine, and their memory is their own.
"""

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.contenders.shapes import SHAPES, Shape, long_context
from gpt.errors import RunError

WARMUP = 3


class Contender:
    """A process that runs one kind of work. `rounds` gathers its milliseconds, `peak_mb` its peak memory."""

    def __init__(self, kind: str, shape: str, threads: int):
        self.kind, self.shape, self.threads = kind, shape, threads
        self.ms, self.peak_mb = [], 0.0
        environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders.contender", kind, shape, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._answer()

    def run(self, repetitions: int) -> None:
        print(repetitions, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.ms += answer["ms"]
        self.peak_mb = answer["peak_mb"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RunError(f"the process for {self.kind} at {self.shape} ended early")
        return json.loads(line)

    def median(self) -> float:
        return float(np.median(self.ms))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def shape_of(name: str) -> Shape:
    return long_context(int(name.removeprefix("T="))) if name.startswith("T=") else SHAPES[name]


def batch_of(shape: Shape):
    """Random ids and targets (B, T), always the same."""
    config = shape.model
    windows = np.random.default_rng(0).integers(0, config.vocab_size, (shape.batch_size, config.block_size + 1))
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


# Each of these sets up and returns a function that does one step.


def ours(shape: Shape, threads: int, **flags):
    from gpt.config.options import TrainConfig
    from gpt.model import GPT
    from gpt.training.step import Trainer
    from nanograd import Device

    config = TrainConfig(batch_size=shape.batch_size, block_size=shape.model.block_size, max_steps=10**6, **flags)
    tokens = np.random.default_rng(0).integers(0, shape.model.vocab_size, 100_000).astype(np.uint16)
    trainer = Trainer(GPT(shape.model, Device("numpy")), config, tokens, tokens, threads)
    return lambda: float(trainer.train_step().loss)


def matmuls(shape: Shape, threads: int):
    """The matrix products of a step and nothing else, split among threads as the step itself is."""
    from nanograd.device.threads import ThreadPool, limit_blas
    from nanograd.parallel.data_parallel import plan_threads

    config = shape.model
    plan = plan_threads(
        threads,
        batch_size=shape.batch_size,
        positions=config.block_size,
        channels=config.n_embd,
        parameters=12 * config.n_layer * config.n_embd**2 + config.vocab_size * config.n_embd,
    )
    limit_blas(plan.blas)
    pool = ThreadPool(plan.workers)
    work = [products(config, len(range(*part.indices(shape.batch_size)))) for part in pool.slices(shape.batch_size)]

    def run(jobs):
        for a, b, out in jobs:
            np.matmul(a, b, out=out)

    return lambda: pool.map(run, work)


def products(config, B: int) -> list:
    """(a, b, out) of every product in a step on B samples: forward, and two for each in backward."""
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.01)

    jobs = []

    def linear(n_in, n_out):
        x, w, y = array(B * config.block_size, n_in), array(n_in, n_out), array(B * config.block_size, n_out)
        jobs.extend([(x, w, np.empty_like(y)), (x.T, y, np.empty_like(w)), (y, w.T, np.empty_like(x))])

    C, H, K, T = config.n_embd, config.n_head, config.kv_heads, config.block_size
    D, wide = config.head_channels, config.inner_channels
    gates = [(C, wide)] * (config.activation == "swiglu")
    for _ in range(config.n_layer):
        for n_in, n_out in ((C, (H + 2 * K) * D), (H * D, C), (C, wide), (wide, C), *gates):
            linear(n_in, n_out)
        x, weights, shared = array(B, K, H // K, T, D), array(B, K, H // K, T, T), array(B, K, 1, T, D)
        for a, b, out in ((x, shared.swapaxes(3, 4), weights), (weights, shared, x), (weights.swapaxes(3, 4), x, x)):
            jobs.extend([(a, b, np.empty_like(out))] * 2)  # scores and dP; output and dq; dv and dk
    linear(C, config.vocab_size)
    return jobs


def torch_step(shape: Shape, threads: int, sdpa: bool, compiled: bool):
    import torch

    from benchmarks.contenders.torch_gpt import TorchGPT
    from benchmarks.contenders.torch_llama import TorchLlama

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = (TorchLlama if shape.model.norm == "rmsnorm" else TorchGPT)(shape.model, sdpa)
    optimizer = model.adamw()
    forward = torch.compile(model) if compiled else model
    idx, targets = (torch.from_numpy(array) for array in batch_of(shape))

    def step():
        loss = forward(idx, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


KINDS = {
    "nanograd": ours,
    "with muon": lambda shape, threads: ours(shape, threads, optimizer="muon", muon_scale_rows=True),
    "matmuls": matmuls,
    "torch eager": lambda shape, threads: torch_step(shape, threads, sdpa=False, compiled=False),
    "torch sdpa": lambda shape, threads: torch_step(shape, threads, sdpa=True, compiled=False),
    "torch compiled": lambda shape, threads: torch_step(shape, threads, sdpa=True, compiled=True),
}


def serve(kind: str, shape: str, threads: int) -> None:
    step = KINDS[kind](shape_of(shape), threads)
    for _ in range(WARMUP):
        step()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        ms = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            ms.append((time.perf_counter() - start) * 1e3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if kind in ("nanograd", "with muon"):  # torch.compile's processes only wait for more to compile
            peak += sum(map(private_kb, children()))
        print(json.dumps({"ms": ms, "peak_mb": peak / 1024}), flush=True)


def children() -> list[str]:
    """The processes that share this one's work."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read().split()


def private_kb(pid: str) -> int:
    """What a process has in memory for itself alone."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
