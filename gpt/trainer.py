"""One training step, and what a step needs to be repeated exactly.

    batch -> forward -> backward -> clip -> AdamW

Nothing here writes files or talks to a person; that is gpt/training.py. A step is a function of the parameters,
the optimiser's moments, the seed and the step's number, so a run can stop after any step and go on.
"""

from dataclasses import dataclass

import numpy as np

from gpt.config import TrainConfig
from gpt.data import EVAL_TRAIN, EVAL_VAL, TRAIN_STEP, batch_starts, get_batch, whole_split_batches
from gpt.model import GPT
from nanograd.adamw import AdamW, clip_scale, grad_norm, square_sum
from nanograd.arena import arenas_of
from nanograd.parallel import DataParallel, Team, limit_blas, plan_threads
from nanograd.schedule import warmup_cosine


@dataclass
class StepResult:
    """What a step measured: the mean loss in nats a token, the gradient's norm before clipping, the rate used."""

    loss: float
    grad_norm: float
    lr: float


class Trainer:
    """Trains `model` on the ids `train`, and evaluates it on `val` too. `step` counts the steps done."""

    def __init__(self, model: GPT, config: TrainConfig, train: np.ndarray, val: np.ndarray, threads: int = 1):
        self.model, self.config, self.train, self.val = model, config, train, val
        self.block_size = model.config.block_size
        self.step = 0
        self.plan = plan_threads(
            threads if model.device.name == "numpy" else 1,
            batch_size=config.batch_size,
            positions=self.block_size,
            channels=model.config.n_embd,
            parameters=model.n_parameters(),
        )
        limit_blas(self.plan.blas)
        self.team = Team(self.plan.team)
        self.parallel = DataParallel(model, Team(self.plan.workers), self.plan.chunk)
        self.optimizer = AdamW(
            model,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            team=self.team,
        )

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        config = self.config
        return warmup_cosine(
            step, lr=config.lr, min_lr=config.final_lr, warmup_steps=config.warmup, max_steps=config.max_steps
        )

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """x, y (grad_accum * batch_size, T) of `step`."""
        size = self.config.batch_size * self.config.grad_accum
        starts = batch_starts(len(self.train), size, self.block_size, self.config.seed, TRAIN_STEP, step)
        return get_batch(self.train, starts, self.block_size)

    def train_step(self) -> StepResult:
        """Do one step. `loss` and `grad_norm` may be device scalars, which float() waits for."""
        config = self.config
        x, y = self.batch(self.step)
        self.model.train()
        self.parallel.zero_grad()
        loss = 0.0
        for first in range(0, len(x), config.batch_size):
            rows = slice(first, first + config.batch_size)
            loss = loss + self.parallel.forward_backward(x[rows], y[rows], y.size, self.step, first)
        self.parallel.reduce()
        norm = grad_norm(self.model, self.team)
        self.optimizer.lr = self.lr_at(self.step)
        self.optimizer.step(clip_scale(norm, config.grad_clip) if config.grad_clip else 1.0)
        self.step += 1
        return StepResult(loss, norm, self.optimizer.lr)

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
        """{"train_loss", "val_loss"}: the mean over `eval_iters` batches of each split, the same ones every time."""
        sources = {"train_loss": (self.train, EVAL_TRAIN), "val_loss": (self.val, EVAL_VAL)}
        return {name: self._mean_loss(tokens, purpose) for name, (tokens, purpose) in sources.items()}

    def _mean_loss(self, tokens, purpose) -> float:
        config = self.config
        losses = []
        for number in range(config.eval_iters):
            starts = batch_starts(len(tokens), config.batch_size, self.block_size, config.seed, purpose, number)
            losses.append(self.parallel.loss(*get_batch(tokens, starts, self.block_size)))
        return float(np.mean(losses))

    def whole_loss(self, tokens: np.ndarray) -> float:
        """The mean loss over every token of `tokens` but the first, in windows laid end to end."""
        total = count = 0
        for x, y in whole_split_batches(tokens, self.block_size, self.config.batch_size):
            total += self.parallel.loss(x, y) * y.size
            count += y.size
        return total / count

    def state_dict(self) -> tuple[dict, dict]:
        """(model state, optimizer state): all that a resumed run needs beside the step. Views, where that can be."""
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
