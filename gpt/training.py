"""A training run: its folder, its log, its checkpoints, around the steps of gpt/trainer.py.

    text, tokenizer, tokens -> model -> { step, log, evaluate, save } -> picture, sample, diagnosis

A run writes config.toml, tokenizer.*, metrics.jsonl, checkpoints/ and loss.png into its folder. What it tells a
person goes to stdout, warnings and the progress bar to stderr.
"""

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path

from gpt import run_folder
from gpt.checkpoint import checkpoint_bytes, load_latest_good, remove_dead, save_checkpoint
from gpt.config import TrainConfig
from gpt.config_file import dump_toml
from gpt.crew import Crew, demand_share, follow
from gpt.errors import RunError
from gpt.files import check_free_space, write_text
from gpt.lock import RunLock
from gpt.metrics import Metrics
from gpt.model import GPT
from gpt.prepare import Data, prepare
from gpt.signals import StopRequest
from gpt.units import bits_per_byte, count_bytes, perplexity
from nanograd.backend import Device
from nanograd.communicator import connect


def main(config: TrainConfig) -> int:
    """Train as `config` says. Returns the exit code: 0, or 128 + the signal that stopped the run."""
    device = Device(config.backend, config.dtype, config.seed)
    ranks = connect(device)  # more than one where mpiexec started them
    demand_share(config.batch_size, ranks.size)
    ranks.barrier()  # every rank has read the flags before the first of them writes
    if ranks.rank > 0:
        return follow(config, device, ranks)
    crew = Crew(ranks)
    print(device.describe())
    folder = run_folder.choose(config)
    with RunLock(folder):
        remove_dead(folder)
        checkpoint = load_latest_good(folder, warn) if config.resume else None
        data = load_data(config, folder, checkpoint)
        run = Run(config, folder, device, data, checkpoint, crew)
        with StopRequest() as stop:
            crew.listen(stop)
            run.train(stop)
        code = run.finish(stop)
        crew.dismiss(code)
        return code


def warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


def load_data(config: TrainConfig, folder: Path, checkpoint) -> Data:
    """The text and its tokens. A run that goes on uses its own tokenizer, and must find the same text."""
    tokenizer = None
    if checkpoint is not None:
        from tokenizers import load_tokenizer

        tokenizer = load_tokenizer(folder)
    return prepare(
        config.data,
        config.block_size,
        kind=config.tokenizer,
        vocab_size=config.vocab_size,
        tokenizer=tokenizer,
        sha256=checkpoint.state["corpus_sha256"] if checkpoint else None,
        beside=folder,
    )


class Run:
    """One training run in `folder`, fresh or going on from `checkpoint`."""

    def __init__(self, config: TrainConfig, folder: Path, device: Device, data: Data, checkpoint, crew: Crew):
        self.config, self.folder, self.data, self.crew = config, folder, data, crew
        model = GPT(config.model_config(data.tokenizer.vocab_size), device)
        self.trainer = crew.trainer(model, config, data)
        self.saved_step = None
        self.evaluations = {}  # step -> {"train_loss", "val_loss", "val_bits_per_byte"}
        self.bytes_per_token = count_bytes(data.val, data.tokenizer) / len(data.val)
        check_free_space(folder, (config.keep + 2) * checkpoint_bytes(*self.trainer.state_dict()))
        if checkpoint is None:
            self._begin()
        else:
            self._go_on(checkpoint)
        crew.brief(self.trainer, folder, data)
        self._introduce(model)

    def _begin(self) -> None:
        if self.config.overwrite:
            run_folder.clear(self.folder)
        self.data.tokenizer.save(self.folder)
        self.metrics = Metrics(self.folder)
        write_text(self.folder / "config.toml", dump_toml(self.config))

    def _go_on(self, checkpoint) -> None:
        try:
            self.trainer.load_state_dict(checkpoint.model_state, checkpoint.optimizer_state, checkpoint.step)
        except ValueError as error:
            raise RunError(f"{checkpoint.path}: {error}") from error
        self.metrics = Metrics(self.folder, resume_step=checkpoint.step)
        self.saved_step = checkpoint.step
        write_text(self.folder / "config.toml", dump_toml(self.config))
        print(f"going on from step {checkpoint.step}")

    def _introduce(self, model: GPT) -> None:
        data, plan = self.data, self.trainer.plan
        print(
            f"{data.corpus.label}: {data.corpus.n_bytes:,} bytes, {len(data.train):,} tokens to train on, "
            f"{len(data.val):,} to validate on; {data.tokenizer.kind} vocabulary of {data.tokenizer.vocab_size}"
        )
        print(
            f"{model.n_parameters():,} parameters, {self.crew.about}{plan.team} threads; the run is in {self.folder}",
            flush=True,
        )

    # The loop

    def train(self, stop: StopRequest) -> None:
        """Step until max_steps or until `stop` asks to end; evaluate, log and save on the way."""
        config, trainer = self.config, self.trainer
        tokens_per_step = config.batch_size * config.grad_accum * config.block_size
        with progress_bar(trainer.step, config.max_steps) as bar:
            since, steps_since = time.perf_counter(), trainer.step
            while trainer.step < config.max_steps and stop.signal is None:
                result = trainer.train_step()
                step = trainer.step
                last = step == config.max_steps
                evaluate = last or step % config.eval_interval == 0
                values = {}
                if last or evaluate or step == 1 or step % config.log_interval == 0:
                    loss = float(result.loss)  # waits for the device
                    seconds = time.perf_counter() - since
                    speed = tokens_per_step * (step - steps_since) / seconds
                    values = {"loss": loss, "lr": result.lr, "grad_norm": float(result.grad_norm)}
                    values["tokens_per_s"] = round(speed, 1)
                    values["grad_norms"] = trainer.grad_norms()
                    bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update(step - bar.n)
                if evaluate:
                    self._evaluate(values)
                elif values:
                    self.metrics.log(step, **values)
                if values:
                    since, steps_since = time.perf_counter(), step
                interval = config.checkpoint_interval
                if last or (evaluate if interval is None else step % interval == 0):
                    self._save()
                    since = time.perf_counter()
        if stop.signal is not None and self.saved_step != trainer.step:
            self._save()

    def _evaluate(self, values: dict) -> None:
        losses = self.trainer.evaluate()
        bits = losses["val_bits_per_byte"] = bits_per_byte(losses["val_loss"], self.bytes_per_token)
        step = self.trainer.step
        self.evaluations[step] = losses
        self.metrics.log(step, **values, **losses)
        say(
            f"step {step:>{len(str(self.config.max_steps))}}: "
            f"train loss {losses['train_loss']:.4f}, val loss {losses['val_loss']:.4f} ({bits:.3f} bits a byte), "
            f"{values['tokens_per_s']:,.0f} tokens/s"
        )

    def _save(self) -> None:
        step = self.trainer.step
        state = {
            "model": asdict(self.trainer.model.config),
            "corpus_sha256": self.data.corpus.sha256,
            "seed": self.config.seed,
        }
        self.metrics.sync()
        val_loss = self.evaluations.get(step, {}).get("val_loss")
        save_checkpoint(self.folder, step, *self.trainer.state_dict(), state, val_loss, self.config.keep)
        self.saved_step = step

    # The end

    def finish(self, stop: StopRequest) -> int:
        """Say where the run is and how to go on; draw, sample and judge it if it came to its end. The exit code."""
        self.metrics.close()
        where = shlex.quote(str(self.folder))
        if stop.signal is not None and self.trainer.step < self.config.max_steps:
            print(f"\nstopped after step {self.trainer.step}, which is saved; to go on:")
            print(f"    python train.py --resume --out_dir {where}")
            return stop.exit_code
        from gpt.diagnose import diagnose
        from gpt.history import History
        from gpt.pictures import draw_loss

        draw_loss([self.folder], self.folder / "loss.png")
        final = self.evaluations.get(self.trainer.step)
        if final:
            val_loss = final["val_loss"]
            print(
                f"\ntrain loss {final['train_loss']:.4f}, val loss {val_loss:.4f}: "
                f"perplexity {perplexity(val_loss):.1f}, {final['val_bits_per_byte']:.3f} bits a byte"
            )
        samples = self._samples()
        if samples:
            print(f"a sample:\n\n{self.data.tokenizer.decode(samples[0]).strip()}\n")
        model, vocab_size = self.trainer.model, self.data.tokenizer.vocab_size
        found = diagnose(
            History(self.folder), model.n_parameters(), vocab_size, self.data.train, self.data.val, samples
        )
        print(f"{found.report()}\n")
        print(f"the run is in {self.folder}: loss.png, metrics.jsonl, checkpoints. To sample it:")
        print(f"    python sample.py --out_dir {where}")
        return 0

    def _samples(self) -> list[list[int]]:
        """The ids of a few samples, made as one batch: the first to show, all of them to judge."""
        from gpt.diagnose import sample_ids

        if not self.config.sample_tokens:
            return []
        return sample_ids(self.trainer.model, self.data.tokenizer, self.config.sample_tokens, seed=self.config.seed)


def progress_bar(step: int, max_steps: int):
    """A tqdm bar on a terminal; elsewhere it stays silent."""
    from tqdm import tqdm

    return tqdm(total=max_steps, initial=step, unit=" steps", dynamic_ncols=True, leave=False, disable=None)


def say(line: str) -> None:
    """Print a line without tearing the progress bar."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()
