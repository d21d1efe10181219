"""A training by several ranks: the first leads, and the others carry out its commands.

    mpiexec -n 4 python -m mpi4py train.py

Rank 0 runs gpt/training/run.py as a process on its own would: it alone reads checkpoints, writes, logs and draws.
Where work is shared, a step or an evaluation, it first sends a command; the others, the workers, wait for commands
and do nothing else. They hold the same parameters, since all start from those of rank 0 and make the same updates.

A command is a sum over all ranks of a few numbers, so the signals that any rank received come back with it: if
one rank receives a signal to stop, all stop after the same step.
"""

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpt.config.options import TrainConfig
from gpt.data.prepare import Data, prepare_for_run
from gpt.errors import UsageError
from gpt.model import GPT
from gpt.tokenizers import load_tokenizer
from gpt.training.anomaly import NotFinite
from gpt.training.signals import STOP_SIGNALS, StopRequest
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.optim.arena import arenas_of
from nanograd.parallel.communicator import Communicator, Single

STEP, EVALUATE, STOP = 1, 2, 3  # the commands
NO_SIGNALS = (0,) * len(STOP_SIGNALS)


class Distributed:
    """The ranks of a training, as its leader sees them. A process on its own is the only rank."""

    def __init__(self, ranks: Communicator):
        self.ranks = ranks
        self.stop = None

    @property
    def about(self) -> str:
        """ "4 ranks of ", or nothing for a process on its own."""
        return f"{self.ranks.size} ranks of " if self.ranks.size > 1 else ""

    def trainer(self, model: GPT, config: TrainConfig, data: Data) -> Trainer:
        """A trainer whose steps and evaluations all ranks share."""
        kind = Trainer if self.ranks.size == 1 else LeaderTrainer
        trainer = kind(model, config, data.train, data.val, config.threads or self.ranks.cores(), self.ranks)
        trainer.distributed = self
        return trainer

    def broadcast_setup(self, trainer: Trainer, folder: Path, data: Data) -> None:
        """Tell the others what they need to know, once the run's folder and the leader's trainer are ready."""
        if self.ranks.size > 1:
            broadcast_json(self.ranks, {"folder": str(folder), **data.hashes})
            share_state(trainer)

    def watch_signals(self, stop: StopRequest) -> None:
        """From now on a signal that another rank received counts as if it had come to `stop`."""
        self.stop = stop

    def command(self, what: int, value: int = 0) -> None:
        """Have all ranks do it now."""
        _, _, *counts = exchange(self.ranks, what, value)
        came = next((number for number, count in zip(STOP_SIGNALS, counts, strict=True) if count), None)
        if self.stop is not None and self.stop.signal is None:
            self.stop.signal = came

    def stop_workers(self, code: int) -> None:
        """End the workers' processes; `code` is their exit code, and ours."""
        if self.ranks.size > 1:
            self.command(STOP, code)


class LeaderTrainer(Trainer):
    """The trainer of the leader: what all ranks take part in, it has them do.

    Numbers that are not finite, in whatever rank they arose, end up in the sums. From then on the leader is on its
    own: what it does again to find their origin, it does with whole batches.
    """

    def train_step(self):
        self.distributed.command(STEP)
        with self._alone_after_trouble():
            return super().train_step()

    def check(self):
        with self._alone_after_trouble():
            super().check()

    def evaluate(self):
        if self.ranks.size > 1:
            self.distributed.command(EVALUATE)
        losses = super().evaluate()
        if not all(map(math.isfinite, losses.values())):
            self.ranks = Single()
        return losses

    @contextlib.contextmanager
    def _alone_after_trouble(self):
        try:
            yield
        except NotFinite:
            self.ranks = Single()
            raise


def run_worker(config: TrainConfig, device: Device, ranks: Communicator) -> int:
    """What every rank but the first does: wait for the leader's preparations, then for its commands."""
    setup = receive_json(ranks)
    folder = Path(setup["folder"])
    data = prepare_for_run(config, folder, load_tokenizer(folder), setup, progress=False)
    model = GPT(config.model_config(data.tokenizer.vocab_size), device)
    config = replace(config, detect_anomaly=False)  # the leader looks into it, once its sums are not finite
    trainer = Trainer(model, config, data.train, data.val, config.threads or ranks.cores(), ranks)
    share_state(trainer)
    with StopRequest(silent=True) as stop:
        while True:
            signals = [int(stop.signal == number) for number in STOP_SIGNALS]
            command, value, *_ = exchange(ranks, 0, 0, signals)
            if command == STOP:
                return value
            with contextlib.suppress(NotFinite):  # the leader finds out why, says so and ends the job
                trainer.train_step() if command == STEP else trainer.evaluate()


def check_even_split(batch_size: int, n_ranks: int) -> None:
    """Raise UsageError, saying what would do, unless the ranks can have equal parts of a batch."""
    if batch_size % n_ranks:
        below = batch_size // n_ranks * n_ranks
        sizes = " or ".join(str(size) for size in (below, below + n_ranks) if size)
        divisor = max(n for n in range(1, n_ranks) if batch_size % n == 0)
        raise UsageError(
            f"--batch_size {batch_size} cannot be split evenly among {n_ranks} ranks: "
            f"--batch_size {sizes} can, or mpiexec -n {divisor}"
        )


# Messages between ranks


def exchange(ranks: Communicator, command: int, value: int, signals=NO_SIGNALS) -> list[int]:
    """[command, value, how many ranks received each signal], the same at all ranks; only the leader sends a command."""
    return ranks.all_reduce(np.array([command, value, *signals], dtype=np.int64)).tolist()


def broadcast_json(ranks: Communicator, message: dict) -> None:
    """Send a JSON value from rank 0 to all the others."""
    text = np.frombuffer(json.dumps(message).encode(), dtype=np.uint8).copy()
    ranks.broadcast(np.array([text.size]))
    ranks.broadcast(text)


def receive_json(ranks: Communicator) -> dict:
    size = ranks.broadcast(np.array([0]))
    return json.loads(ranks.broadcast(np.zeros(size[0], dtype=np.uint8)).tobytes())


def share_state(trainer: Trainer) -> None:
    """Give every rank the parameters, moments and step of rank 0."""
    ranks, optimizer = trainer.ranks, trainer.optimizer
    for array in (*(arena.values for arena in arenas_of(trainer.model)), *optimizer.arrays()):
        ranks.broadcast(array)
    trainer.step, optimizer.steps = ranks.broadcast(np.array([trainer.step, optimizer.steps])).tolist()
