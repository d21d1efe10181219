"""A training run: its folder, its log, its checkpoints, around the steps of gpt/training/step.py.

    text, tokenizer, tokens -> model -> { step, log, evaluate, save } -> picture, sample, diagnosis

A run writes config.toml, tokenizer.*, metrics.jsonl, samples.jsonl, checkpoints/, loss.png and page.html into its
folder. What it tells a person goes to stdout, warnings and the progress bar to stderr.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpt.cli.output import say, show
from gpt.config.options import TrainConfig
from gpt.config.toml import dump_toml
from gpt.data.finding import absolute_specs
from gpt.data.prepare import Data, prepare_for_run
from gpt.data.units import bits_per_byte, count_bytes
from gpt.diagnose.text_statistics import surprise
from gpt.errors import RunError, UsageError
from gpt.files import check_free_space, write_text
from gpt.hub.load import Opened
from gpt.hub.start import open_start
from gpt.model import GPT
from gpt.runs import folder as run_folder
from gpt.runs.checkpoint import Checkpoint, checkpoint_bytes, load_latest_good, remove_dead, save_checkpoint
from gpt.runs.load import blank_model
from gpt.runs.metrics import Metrics, read_metrics
from gpt.runs.samples import Samples
from gpt.training.anomaly import TROUBLE, evaluate, likely_causes, trouble_in_step, without_warnings
from gpt.training.curvature import Curvature
from gpt.training.distributed import Distributed, check_even_split, run_worker
from gpt.training.kept_samples import short_samples
from gpt.training.loss_spikes import LossSpikes
from gpt.training.minutes import fit_into_minutes
from gpt.training.progress import Reports, print_line, progress_bar
from gpt.training.run_state import check_flags, check_tokenizer, run_state
from gpt.training.signals import StopRequest, interruptible
from gpt.training.step import StepResult
from gpt.training.summary import summarize
from nanograd import Device
from nanograd.anomaly import Anomaly
from nanograd.device.cores import counted
from nanograd.parallel.world import connect

FEWEST_TO_COMPARE = 5000  # tokens; pairs of fewer say little
JUMP = 1.5  # times the last learning rate
CLEARLY = 0.02  # nats by which it is more: a text that repeats itself has a loss near 0, of which 9% is nothing
UNLIKE = 1.09  # Alice has 1.01, Alice with a licence at its end 1.10 by characters, 1.23 in pieces


def main(config: TrainConfig) -> int:
    """Train as `config` says. Returns the exit code: 0, or 128 + the signal that stopped the run."""
    code, _ = conduct(config)
    return code


def conduct(
    config: TrainConfig, callback: Callable[[dict], object] | None = None, tell: Callable[..., object] = show
) -> tuple[int, "Run | None"]:
    """(the exit code, the run at its end, or None in a rank that does not lead).

    `callback` gets every line of metrics.jsonl as a dict; `tell` the lines at the end of the run.
    """
    with interruptible(), without_warnings():
        device = Device(config.backend, config.dtype, config.seed, config.atomics)
        ranks = connect(device)  # more than one where mpiexec started them
        check_even_split(config.batch_size, ranks.size)
        ranks.barrier()  # every rank has read the flags before the first of them writes
        if ranks.rank > 0:
            return run_worker(config, device, ranks), None
        distributed = Distributed(ranks)
        show(device.describe())
        with run_folder.taken(config) as folder:
            run = start(config, folder, device, distributed)
            run.callback = callback
            with StopRequest() as stop:
                distributed.watch_signals(stop)
                run.train(stop)
            code = summarize(run, stop, tell)
            distributed.stop_workers(code)
            return code, run


def start(config: TrainConfig, folder: Path, device: Device, distributed: Distributed) -> "Run":
    """A run that is ready to train: a new one, or with `resume` the one in the folder, if there is one."""
    remove_dead(folder)
    checkpoint = load_latest_good(folder, warn) if config.resume else None
    if checkpoint is not None:
        check_flags(config, checkpoint)
        data = load_data(config, folder, checkpoint)
        if "split" not in checkpoint.state["flags"] and len(data.corpus.paths) > 1:
            raise UsageError(f"{folder} was split as one text, and several files are each split now: start a new run")
        return Run(config, folder, device, data, distributed, checkpoint)
    with open_start(config) as source:
        data = prepare_for_run(config, folder, source and source.tokenizer)
        if config.minutes is not None:
            config = fit_into_minutes(config, device, data, distributed)
        return Run(config, folder, device, data, distributed, source=source)


def warn(line: str) -> None:
    say(f"warning: {line}")


def warn_of_unlike_parts(data: Data) -> None:
    """Say so where the validation text is unlike the training text: its loss then measures something else."""
    if len(data.train) < FEWEST_TO_COMPARE:
        return
    theirs, own = surprise(data.train, data.val, data.tokenizer.vocab_size)
    if theirs > max(UNLIKE * own, own + CLEARLY):
        warn(
            f"the validation text is unlike the training text: a bigram model of the latter has loss {theirs:.2f} on "
            f"it and {own:.2f} on text of its own; --split spread validates on stretches from all over, --val_data "
            "FILE on a text you choose"
        )


def load_data(config: TrainConfig, folder: Path, checkpoint: Checkpoint) -> Data:
    """The text and its tokens, of a run that goes on: its own tokenizer, and the same text."""
    from gpt.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder)
    check_tokenizer(tokenizer, checkpoint)
    return prepare_for_run(config, folder, tokenizer, checkpoint.state)


class Run:
    """One training run in `folder`: going on from `checkpoint`, or a new one, with the weights of `source` or drawn."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        device: Device,
        data: Data,
        distributed: Distributed,
        checkpoint: Checkpoint | None = None,
        source: Opened | None = None,
    ):
        self.config, self.folder, self.data, self.distributed = config, folder, data, distributed
        make = GPT if checkpoint is None and source is None else blank_model
        model = make(config.model_config(data.tokenizer.vocab_size), device)
        self.trainer = distributed.trainer(model, config, data)
        self.saved_step = None
        self.spikes = LossSpikes()
        self.evaluations = {}  # step -> {"train_loss", "val_loss", "val_bits_per_byte"}
        self.callback, self.ended = None, False  # True once the callback has asked for the end
        self.diagnosis, self.sample = None, ""  # of a run that came to its end
        self.bytes_per_token = count_bytes(data.val, data.tokenizer) / len(data.val)
        space = (config.keep + 2) * checkpoint_bytes(*self.trainer.state_dict())
        check_free_space(folder, space - run_folder.checkpoints_size(folder))
        if source is not None:
            source.fill(model)
            show(f"starting from {source.about}")
        if checkpoint is None:
            self._begin()
        else:
            self._go_on(checkpoint)
        distributed.broadcast_setup(self.trainer, folder, data)
        self._introduce(model)

    def _begin(self) -> None:
        if self.config.overwrite:
            run_folder.clear(self.folder)
        self._write_config()  # first: what a killed process leaves behind is then known for a run
        self.data.tokenizer.save(self.folder)
        self.metrics, self.samples = Metrics(self.folder), Samples(self.folder)
        warn_of_unlike_parts(self.data)

    def _go_on(self, checkpoint) -> None:
        try:
            self.trainer.load_state_dict(checkpoint.model_state, checkpoint.optimizer_state, checkpoint.step)
            self.spikes.load_state_dict(checkpoint.state["spikes"])
        except ValueError as error:
            raise RunError(f"{checkpoint.path}: {error}") from error
        self.metrics, self.samples = (kind(self.folder, checkpoint.step) for kind in (Metrics, Samples))
        self.saved_step = checkpoint.step
        self._write_config()
        before = checkpoint.state["flags"]["dtype"]
        if before != self.config.dtype:
            show(f"the run was in {before} and goes on in {self.config.dtype}: the weights of both are kept in float32")
        if checkpoint.step >= self.config.max_steps:
            show(f"the run has done its {checkpoint.step} steps; --max_steps with a larger number goes on")
        else:
            show(f"going on from step {checkpoint.step}")
            self._tell_of_a_jump()

    def _tell_of_a_jump(self) -> None:
        """Say so where the learning rate leaps up, since the steps over which it falls have become more."""
        rates = [line["lr"] for line in read_metrics(self.folder) if isinstance(line.get("lr"), float)]
        step = self.trainer.step
        rate = self.trainer.lr_at(step)
        if rates and step >= self.config.warmup and rate > JUMP * rates[-1]:
            show(
                f"the learning rate goes from {rates[-1]:.1e} up to {rate:.1e}, for it falls until the last step; "
                f"--lr_decay_steps {step} keeps it at {self.config.final_lr:.1e}"
            )

    def _write_config(self) -> None:
        texts = {name: absolute_specs(getattr(self.config, name)) for name in ("data", "val_data")}
        config = replace(self.config, **texts)
        write_text(self.folder / "config.toml", dump_toml(config))

    def _introduce(self, model: GPT) -> None:
        data, trainer = self.data, self.trainer
        workers = counted(trainer.plan.threads, "process" if trainer.parallel.processes else "thread")
        show(
            f"{data.corpus.label}: {data.corpus.n_bytes:,} bytes, {len(data.train):,} tokens to train on, "
            f"{len(data.val):,} to validate on; {data.tokenizer.kind} vocabulary of {data.tokenizer.vocab_size}"
        )
        show(f"{model.n_parameters():,} parameters, {self.distributed.about}{workers}; the run is in {self.folder}")

    # The loop

    def train(self, stop: StopRequest) -> None:
        """Step until max_steps or until `stop` asks to end; evaluate, log and save on the way."""
        trainer = self.trainer
        with progress_bar(trainer.step, self.config.max_steps) as self.bar:
            config = self.config
            self.curvature = Curvature(trainer.model, config, self.data.train) if config.log_sharpness else None
            self.since, self.steps_since = time.perf_counter(), trainer.step
            self.reports = Reports(
                trainer.step, config.max_steps, config.batch_size * config.grad_accum * config.block_size
            )
            try:
                if trainer.step == 0:
                    self._evaluate_untrained()
                while trainer.step < self.config.max_steps and stop.signal is None and not self.ended:
                    self._step()
                self._save()
            except TROUBLE as error:
                raise self._trouble(error) from error
            except OSError:  # stdout is closed; the steps are done nevertheless
                self._save()
                raise

    def _step(self) -> None:
        """One step, and what is due after it."""
        config, trainer = self.config, self.trainer
        result = trainer.train_step()
        step = trainer.step
        last = step == config.max_steps
        evaluating = last or step % config.eval_interval == 0
        curvature = self.curvature and (last or step % config.log_sharpness == 0)
        logging = evaluating or curvature or step == 1 or step % config.log_interval == 0
        usual_loss = None
        if logging or not hasattr(result.loss, "get"):  # else it is on a GPU, which we do not wait for
            usual_loss = self.spikes.update(float(result.loss))
        values = self._measure(result) if logging or usual_loss is not None else {}
        if usual_loss is not None:
            values["spike"] = usual_loss
            print_line(f"step {step}: the loss jumps to {values['loss']:.4f}, where {usual_loss:.4f} was usual")
        if curvature:
            values |= self.curvature.measure()
        self.bar.update(step - self.bar.n)
        if evaluating:
            self._evaluate(values)
        elif values:
            self._log(step, **values)
        if evaluating:
            self.reports.said()
        elif self.bar.disable and (line := self.reports.line(step)):
            print_line(line)
        if values:
            self.since, self.steps_since = time.perf_counter(), step
        interval = config.checkpoint_interval
        if last or (evaluating if interval is None else step % interval == 0):
            self._save()
            self.since = time.perf_counter()

    def _measure(self, result: StepResult) -> dict:
        """The line that metrics.jsonl gets of a step."""
        config, trainer = self.config, self.trainer
        trainer.check()
        loss = float(result.loss)
        tokens = config.batch_size * config.grad_accum * config.block_size * (trainer.step - self.steps_since)
        speed = tokens / (time.perf_counter() - self.since)
        self.bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tok/s", refresh=False)
        return {
            "loss": loss,
            "lr": result.lr,
            "grad_norm": float(result.grad_norm),
            "tokens_per_s": round(speed, 1),
            "grad_norms": trainer.grad_norms(),
        }

    def _evaluate_untrained(self) -> None:
        """Where learning begins: the losses and samples before the first step, for the pictures and the page."""
        losses = self._losses()
        self._log(0, **losses)
        self._keep_samples(0)
        if self.config.init_from is not None:  # else it is the loss of guessing
            self._tell(0, losses)
        self.since = time.perf_counter()

    def _losses(self) -> dict[str, float]:
        """What an evaluation measures. Raises RunError where it is not finite."""
        try:
            losses = evaluate(self.trainer)
        except Anomaly as error:
            causes = likely_causes(self.trainer, self.trainer.step)
            problem = f"the evaluation after step {self.trainer.step}: {error}; {causes}"
            raise RunError(f"{problem}; {self._what_is_safe()}") from error
        return losses | {"val_bits_per_byte": bits_per_byte(losses["val_loss"], self.bytes_per_token)}

    def _evaluate(self, values: dict) -> None:
        losses, step = self._losses(), self.trainer.step
        self.evaluations[step] = losses
        self._log(step, **values, **losses)
        self._keep_samples(step)
        self._tell(step, losses, f", {values['tokens_per_s']:,.0f} tokens/s")

    def _tell(self, step: int, losses: dict[str, float], speed: str = "") -> None:
        print_line(
            f"step {step:>{len(str(self.config.max_steps))}}: "
            f"train loss {losses['train_loss']:.4f}, val loss {losses['val_loss']:.4f} "
            f"({losses['val_bits_per_byte']:.3f} bits a byte){speed}"
        )

    def _log(self, step: int, **values) -> None:
        self.metrics.log(step, **values)
        if self.callback is not None and self.callback({"step": step, **values}) is True:
            self.ended = True

    def _keep_samples(self, step: int) -> None:
        texts = short_samples(self.trainer.model, self.data.tokenizer, self.config)
        if texts:
            self.samples.log(step, texts=texts)

    def _save(self) -> None:
        """Save the step that was done last, unless it is saved."""
        step = self.trainer.step
        if self.saved_step == step:
            return
        state = run_state(self.config, self.trainer.model.config, self.data, self.spikes)
        val_loss = self.evaluations.get(step, {}).get("val_loss")
        try:
            self.metrics.sync()
            self.samples.sync()
            save_checkpoint(self.folder, step, *self.trainer.state_dict(), state, val_loss, self.config.keep)
        except RunError as error:
            raise RunError(f"{error}; {self._what_is_safe()}") from error
        self.saved_step = step

    def _trouble(self, error: ArithmeticError) -> RunError:
        """The error that tells the user of numbers that are not finite in a step."""
        step, problem = trouble_in_step(self.trainer, error)
        self._log(step + 1, loss=math.nan, lr=self.trainer.lr_at(step))
        return RunError(f"step {step + 1}: {problem}; {self._what_is_safe()}")

    def _what_is_safe(self) -> str:
        if self.saved_step is None:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {self.saved_step} is as it was (--resume goes on from there)"
