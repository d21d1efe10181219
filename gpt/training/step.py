"""One training step, and what a step needs to be repeated exactly.

    batch -> forward -> backward -> clip -> AdamW or Muon

Nothing here writes files or talks to a person; that is gpt/training/run.py. A step is a function of the parameters,
the optimiser's moments, the seed and the step's number, so a run can stop after any step and go on.
"""

import contextlib
from dataclasses import dataclass

import numpy as np

from gpt.config.options import TrainConfig
from gpt.data.batches import EVAL_TRAIN, EVAL_VAL, TRAIN_STEP, batch_starts, draw_batch, get_batch, whole_split_batches
from gpt.model import GPT
from gpt.training.anomaly import NonFiniteCheck
from nanograd.device.threads import ThreadPool, limit_blas
from nanograd.optim.adamw import AdamW, grad_norm, square_sum
from nanograd.optim.arena import arenas_of
from nanograd.optim.muon import Muon
from nanograd.parallel.communicator import Communicator, Single
from nanograd.parallel.data_parallel import DataParallel, Plan, plan_threads
from nanograd.parallel.prefetch import Prefetcher
from nanograd.parallel.processes import may_fork


@dataclass
class StepResult:
    """What a step measured: the mean loss in nats a token, the gradient's norm before clipping, the rate used."""

    loss: float
    grad_norm: float
    lr: float


class Trainer:
    """Trains `model` on the ids `train`, and evaluates it on `val` too. `step` counts the steps done.

    Where there are several `ranks`, each has a trainer and calls its methods at the same time as the others; each
    computes its part of every batch, and losses and gradients are added up over all of them.
    """

    def __init__(
        self,
        model: GPT,
        config: TrainConfig,
        train: np.ndarray,
        val: np.ndarray,
        threads: int = 1,
        ranks: Communicator | None = None,
    ):
        self.model, self.config, self.train, self.val = model, config, train, val
        self.ranks = ranks or Single()
        self.block_size = model.config.block_size
        self.step = 0
        self.plan = plan_threads(
            threads,
            batch_size=self.rank_batch,
            positions=self.block_size,
            channels=model.config.n_embd,
            parameters=model.n_parameters(),
        )
        if model.device.name != "numpy":
            self.plan = Plan(threads=1, workers=1, blas=1, chunk=self.rank_batch)  # a GPU takes a batch at once
        limit_blas(self.plan.blas)
        self.pool = ThreadPool(self.plan.threads)
        processes = may_fork() and not config.detect_anomaly  # which watches layers of this process
        self.parallel = DataParallel(model, ThreadPool(self.plan.workers), self.plan.chunk, processes)
        self.prefetcher = Prefetcher(model.device, self.batch, below=model.config.vocab_size)
        self.guard = NonFiniteCheck()
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> AdamW:
        config = self.config
        settings = {
            "lr": config.lr,
            "betas": (config.beta1, config.beta2),
            "weight_decay": config.weight_decay,
            "pool": self.pool,
        }
        if config.optimizer == "adamw":
            return AdamW(self.model, **settings)
        return Muon(
            self.model,
            muon_lr=config.muon_lr,
            momentum=config.muon_momentum,
            scale_rows=config.muon_scale_rows,
            workers=self.plan.workers,  # where that is 1, the BLAS has threads
            ranks=self.ranks,
            **settings,
        )

    @property
    def rank_batch(self) -> int:
        """The samples of a batch that this rank computes."""
        return self.config.batch_size // self.ranks.size

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        return self.config.lr_at(step)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """x, y (grad_accum * rank_batch, T): what this rank computes of the `grad_accum` batches of `step`."""
        config = self.config
        size = config.batch_size * config.grad_accum
        starts = batch_starts(len(self.train), size, self.block_size, config.seed, TRAIN_STEP, step)
        mine = [starts[self.ranks.part(first, config.batch_size)] for first in range(0, size, config.batch_size)]
        return get_batch(self.train, np.concatenate(mine), self.block_size)

    def train_step(self) -> StepResult:
        """Do one step. `loss` and `grad_norm` may be device scalars, which float() waits for.

        Raises NotFinite where one of the two is NaN or infinite; the parameters are then those of the step before.
        A GPU, for which the host does not wait, skips the update, and `check` raises it. With `detect_anomaly` the
        first layer that makes such a number raises Anomaly.
        """
        config = self.config
        x, y = self.prefetcher.get(self.step)
        with self._watch():
            loss = self._sum_over_ranks(self.gradients(x, y, self.step))
        norm = grad_norm(self.model, self.pool)
        scale = self.guard.scale(self.step, loss, norm, config.grad_clip)
        self.optimizer.lr = self.lr_at(self.step)
        if isinstance(self.optimizer, Muon):
            self.optimizer.muon_lr = config.muon_lr * self.optimizer.lr / config.lr
        self.optimizer.step(scale)
        self.step += 1
        return StepResult(loss, norm, self.optimizer.lr)

    def gradients(self, x, y, step: int):
        """Compute this rank's part of the gradients of `step`, on its `batch`; returns its part of the loss.

        When the last part of it is under way, the next batch is fetched: others may still be at work.
        """
        config = self.config
        if not self.model.training:
            self.model.train()
        self.parallel.zero_grad()
        loss, count = 0.0, y.size * self.ranks.size

        def fetch_next():
            if step + 1 < config.max_steps:
                self.prefetcher.prefetch(step + 1)

        for number in range(config.grad_accum):
            rows = slice(number * self.rank_batch, (number + 1) * self.rank_batch)
            first = self.ranks.part(number * config.batch_size, config.batch_size).start
            then = fetch_next if number == config.grad_accum - 1 else None
            loss = loss + self.parallel.forward_backward(x[rows], y[rows], count, step, first, then)
        self.parallel.reduce()
        return loss

    def check(self) -> None:
        """Wait for the steps so far. Raises NotFinite, of the first of them whose update was skipped."""
        self.guard.check()

    def _watch(self):
        return self.parallel.watched() if self.config.detect_anomaly else contextlib.nullcontext()

    def _sum_over_ranks(self, loss):
        """Add up the ranks' gradients, in place, and return the sum of their shares of the loss."""
        for arena in arenas_of(self.model):
            self.ranks.all_reduce(arena.grads)
        return self.ranks.sum(loss)

    def grad_norms(self) -> dict[str, float]:
        """The norm of the last step's gradient, before clipping, of each part of the model: wte, h.0.attn, ….

        A block's LayerNorms count with what they feed. Their squares add up to the square of `grad_norm`. Waits
        for the device.
        """
        squares = {}
        for arena in arenas_of(self.model):
            grads = arena.grads
            for name, part in arena.slices():
                layer = layer_of(name)
                squares[layer] = squares.get(layer, 0) + square_sum(grads[part])
        order = dict.fromkeys(layer_of(name) for name, _ in self.model.named_parameters())
        return {layer: float(squares[layer]) ** 0.5 for layer in order}

    def evaluate(self) -> dict[str, float]:
        """{"train_loss", "val_loss"}: the mean over `eval_iters` batches of each split, the same ones every time.

        Of a model that has learned nothing, over one batch of each: batches hardly differ while all tokens are about
        as likely.
        """
        self.check()
        sources = {"train_loss": (self.train, EVAL_TRAIN), "val_loss": (self.val, EVAL_VAL)}
        with self._watch():
            return {name: self._mean_loss(tokens, purpose) for name, (tokens, purpose) in sources.items()}

    def _mean_loss(self, tokens, purpose) -> float:
        config = self.config
        untrained = self.step == 0 and config.init_from is None
        losses = np.zeros(1 if untrained else config.eval_iters)
        for number in range(self.ranks.rank, len(losses), self.ranks.size):  # whole batches, in turn
            batch = draw_batch(tokens, config.batch_size, self.block_size, config.seed, purpose, number)
            losses[number] = self.parallel.loss(*batch)
        return float(np.mean(self.ranks.all_reduce(losses)))

    def whole_loss(self, tokens: np.ndarray) -> float:
        """The mean loss over every token of `tokens` but the first, in windows laid end to end."""
        total = count = 0
        for x, y in whole_split_batches(tokens, self.block_size, self.config.batch_size):
            total += self.parallel.loss(x, y) * y.size
            count += y.size
        return total / count

    def state_dict(self) -> tuple[dict, dict]:
        """(model state, optimizer state): all that a resumed run needs beside the step. Views, where that can be.

        Raises NotFinite as `check` does.
        """
        self.check()
        return self.model.state_dict(copy=False), self.optimizer.state_dict(copy=False)

    def load_state_dict(self, model_state: dict, optimizer_state: dict, step: int) -> None:
        self.model.load_state_dict(model_state)
        self.optimizer.load_state_dict(optimizer_state)
        self.step = step


def layer_of(name: str) -> str:
    """The part of the model that a parameter belongs to: h.0.ln_1.weight -> h.0.attn, wte.weight -> wte."""
    parts = name.split(".")
    if parts[0] != "h":
        return parts[0]
    return ".".join([*parts[:2], {"ln_1": "attn", "ln_2": "mlp"}.get(parts[2], parts[2])])
