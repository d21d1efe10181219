"""What `benchmarks.scaling` starts, under mpiexec or alone: ranks that do steps, or all-reduces, when told to.

Rank 0 reads commands from stdin, `steps 20` or `all_reduce 4096 100`, and answers with a line of JSON each.
"""

import json
import resource
import sys
import time

import numpy as np

from benchmarks.contenders.contender import WARMUP, shape_of
from benchmarks.contenders.shapes import SHAPES
from gpt.config.options import TrainConfig
from gpt.model import GPT
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.parallel.communicator import Communicator
from nanograd.parallel.world import world


class TimedRanks(Communicator):
    """`ranks`, with the seconds spent waiting for others and in the exchange itself added up."""

    def __init__(self, ranks: Communicator):
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size
        self.waiting = self.exchange = 0.0

    def all_reduce(self, array):
        start = time.perf_counter()
        self.ranks.barrier()
        together = time.perf_counter()
        self.ranks.all_reduce(array)
        self.waiting += together - start
        self.exchange += time.perf_counter() - together
        return array

    def broadcast(self, array):
        return self.ranks.broadcast(array)

    def barrier(self) -> None:
        self.ranks.barrier()

    def cores(self) -> int:
        return self.ranks.cores()


def make_trainer(name: str, ranks: Communicator, threads: int) -> Trainer:
    shape = shape_of(name)
    config = TrainConfig(batch_size=shape.batch_size, block_size=shape.model.block_size, max_steps=10**6)
    tokens = np.random.default_rng(0).integers(0, shape.model.vocab_size, 100_000).astype(np.uint16)
    return Trainer(GPT(shape.model, Device("numpy")), config, tokens, tokens, threads, ranks)


def steps(trainer: Trainer, ranks: TimedRanks, repetitions: int) -> dict:
    ms = []
    ranks.waiting = ranks.exchange = 0.0
    cpu = time.process_time()
    for _ in range(repetitions):
        start = time.perf_counter()
        float(trainer.train_step().loss)
        ms.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = ranks.sum((time.process_time() - cpu) / repetitions * 1e3)
    share = {"waiting_ms": ranks.waiting, "exchange_ms": ranks.exchange}
    return {"ms": ms, "cpu_ms": cpu, "peak_mb": peak} | {name: s / repetitions * 1e3 for name, s in share.items()}


def all_reduces(ranks: Communicator, n: int, repetitions: int) -> dict:
    array, ms = np.ones(n, dtype=np.float32), []
    for _ in range(repetitions):
        array.fill(1)
        ranks.barrier()
        start = time.perf_counter()
        ranks.all_reduce(array)
        ms.append((time.perf_counter() - start) * 1e3)
    return {"ms": ms}


def serve(name: str, threads: int) -> None:
    ranks = TimedRanks(world())
    trainer = make_trainer(name, ranks, threads)
    for _ in range(WARMUP):
        trainer.train_step()
    if ranks.rank == 0:
        print(json.dumps({"parameters": trainer.model.n_parameters()}), flush=True)
    while True:
        line = sys.stdin.readline().split() if ranks.rank == 0 else []
        command = [{"steps": 1, "all_reduce": 2}[line[0]], *map(int, line[1:])] if line else [0]
        what, *numbers = ranks.broadcast(np.array([*command, 0, 0][:3])).tolist()
        if what == 0:
            return
        answer = steps(trainer, ranks, numbers[0]) if what == 1 else all_reduces(ranks.ranks, *numbers)
        if ranks.rank == 0:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES or not sys.argv[2].isdigit():
        raise SystemExit("error: this is what benchmarks.scaling starts under mpiexec: python -m benchmarks.scaling")
    serve(sys.argv[1], int(sys.argv[2]))
