"""A training that takes a moment: flags for one, and a way to run it inside the test's own process."""

import json
import os
import signal
from pathlib import Path

from gpt.config.options import TrainConfig
from gpt.training import run as training
from gpt.training.step import Trainer
from nanograd.parallel.processes import WorkerProcess

TEXT = "the cat sat on the mat; the dog ate the hat.\nwho ate my hat? the dog!\n" * 20
TINY = {
    "tokenizer": "char",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "block_size": 8,
    "batch_size": 4,
    "grad_accum": 2,
    "dropout": 0.2,
    "lr": 1e-2,
    "max_steps": 12,
    "warmup_steps": 2,
    "eval_interval": 5,
    "eval_iters": 2,
    "log_interval": 2,
    "sample_tokens": 0,
    "threads": 1,
    "backend": "numpy",
}


def train(**flags) -> int:
    """Train; the exit code. Errors are raised."""
    return training.main(TrainConfig(**({"data": ("text.txt",), "out_dir": "run"} | TINY | flags)))


def arguments(**flags) -> list[str]:
    """The same flags as a command line has them."""
    given = {"data": "text.txt", "out_dir": "run"} | TINY | flags
    return [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in given.items()]


def timeless(path="run") -> list[dict]:
    """The lines of metrics.jsonl, without what the clock decides."""
    lines = map(json.loads, (Path(path) / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "tokens_per_s"} for line in lines]


def at_step(monkeypatch, step, action) -> None:
    """Have `action(trainer)` called in the middle of a step, counted from 1."""
    gradients = Trainer.gradients

    def acting(trainer, x, y, number):
        loss = gradients(trainer, x, y, number)
        if number + 1 == step:
            action(trainer)
        return loss

    monkeypatch.setattr(Trainer, "gradients", acting)


def send(number=signal.SIGTERM):
    """An action for `at_step`: the process gets a signal."""
    return lambda trainer: os.kill(os.getpid(), number)


def pid_of(replica) -> int:
    """What a worker is asked for."""
    return os.getpid()


def worker_pid(worker: WorkerProcess) -> int:
    worker.submit(pid_of)
    return worker.result()


def kill_a_worker(trainer: Trainer) -> None:
    """An action for `at_step`: a process that shares the work is killed."""
    os.kill(worker_pid(trainer.parallel.workers[0]), signal.SIGKILL)
