"""`--minutes N`: how many steps fit into that time.

The schedule of a run depends on its length, so the length must be known before the first step that counts. A trainer
of the same make does a few steps and one evaluation, which are then forgotten, parameters and all; their time is part
of the N minutes. The number of steps that fit into what is left becomes `max_steps`, in config.toml too: with it the
run can be resumed, and repeated to the last bit, on a faster or slower machine as well.
"""

import time
from dataclasses import replace

from gpt.cli.output import show
from gpt.config.options import TrainConfig
from gpt.data.prepare import Data
from gpt.errors import UsageError
from gpt.model import GPT
from gpt.training.distributed import Distributed
from nanograd.device.device import Device

WARM_STEPS = 3  # not counted: they allocate, fork and compile
SHARE, MOST_SECONDS = 0.02, 10  # of the time, for measuring, at most


def fit_into_minutes(config: TrainConfig, device: Device, data: Data, distributed: Distributed) -> TrainConfig:
    """`config` with the `max_steps` that take config.minutes, evaluations included. Raises UsageError under MPI."""
    if distributed.ranks.size > 1:
        raise UsageError("--minutes measures the speed of one process: with several ranks give --max_steps")
    begin = time.perf_counter()
    trial = replace(config, max_steps=max(config.max_steps, 2**31 - 1), minutes=None)
    trainer = distributed.trainer(GPT(trial.model_config(data.tokenizer.vocab_size), device), trial, data)
    for _ in range(WARM_STEPS):
        float(trainer.train_step().loss)
    steps, start = 0, time.perf_counter()
    while not steps or time.perf_counter() - start < min(MOST_SECONDS, SHARE * 60 * config.minutes):
        float(trainer.train_step().loss)
        steps += 1
    each = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    trainer.evaluate()
    evaluation = time.perf_counter() - start
    left = 60 * config.minutes - (time.perf_counter() - begin)
    max_steps = steps_in(left, each, evaluation, config.eval_interval)
    show(f"{max_steps} steps of {1e3 * each:.0f} ms, and their evaluations, fit into {config.minutes:g} minutes")
    return replace(config, max_steps=max_steps, minutes=None)


def steps_in(seconds: float, each: float, evaluation: float, eval_interval: int) -> int:
    """How many steps fit, with an evaluation every `eval_interval` of them and one at the end; at least 1."""
    return max(1, int((seconds - evaluation) / (each + evaluation / eval_interval)))
