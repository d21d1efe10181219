"""`train` for Python and notebooks: a run as train.py makes one, by a call that gives the trained model back.

    from gpt import train

    run = train(data="tales", max_steps=300)
    run.model, run.tokenizer, run.history, run.diagnosis

It is the loop of train.py and no other (run.py); what that prints at its end, the object that comes back shows.
"""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from gpt.cli.command_line import train_config
from gpt.config.options import TrainConfig
from gpt.data.prepare import Data
from gpt.diagnose.diagnosis import Diagnosis
from gpt.errors import flags_as_parameters
from gpt.hub.start import completed
from gpt.model import GPT
from gpt.notebook import html
from gpt.runs.history import History
from gpt.tokenizers import Tokenizer
from gpt.training import run as training

COMMANDS = "list_recipes", "debug"  # what a command line asks of a program, and no run


@dataclass(frozen=True)
class Trained:
    """A run that has ended. A notebook shows its curve, its evaluations, its diagnosis and a sample."""

    folder: Path  # of the run; gpt.load(folder) gives the model of its best step
    model: GPT  # as its last step left it, in evaluation mode
    tokenizer: Tokenizer
    data: Data
    history: History  # what it measured
    diagnosis: Diagnosis | None  # None where Ctrl-C ended the run
    sample: str  # a text that it wrote, "" without `sample_tokens` or where Ctrl-C ended it

    @property
    def step(self) -> int:
        """The number of steps that were done."""
        return self.history.lines[-1]["step"]

    def html(self, language: str = "en") -> str:
        """What a notebook shows; `language` is "en" or "zh"."""
        parts = [self.history.html(language)]
        if self.diagnosis is not None:
            parts.append(self.diagnosis.html(language))
        if self.sample:
            parts += [html.paragraph("", "样本" if language == "zh" else "a sample"), html.verbatim(self.sample)]
        return "".join(parts)

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        best = self.history.best()
        loss = f", best validation loss {best[1]:.4f} at step {best[0]}" if best else ""
        return f"Trained({str(self.folder)!r}, {self.step} steps{loss})"


def train(callback: Callable[[dict], object] | None = None, **flags) -> Trained:
    """Train a model as `python train.py` does; `flags` are its flags under Python's names (gpt/config/options.py).

        train(data="book.txt", max_steps=500, lr=3e-4, out_dir="out/book")
        train(config="modern", minutes=5)
        train(data="tales", resume=True)

    `callback(line)` is called for each line that metrics.jsonl gets, every `log_interval` steps (1 has it called for
    each). A line is a dict: "step" (0 before the first), "loss" (of the batch, nats a token), "lr", "grad_norm",
    "tokens_per_s", "grad_norms" by layer; after an evaluation also "train_loss", "val_loss" and "val_bits_per_byte".
    Where it returns True the run ends after that step and is saved. What it raises ends the call; the checkpoint before
    it is there.

    Ctrl-C, or interrupting the kernel, ends the run after its step, saved, and the call returns what there is.
    Raises TypeError for a flag that is not there, UsageError for a value that cannot be, RunError for files, memory and
    numbers, BackendUnavailable.
    """
    with flags_as_parameters():
        config = train_config(plain(flags), completed)
        _, run = training.conduct(config, callback, tell=lambda *text, **how: None)
    if run is None:
        raise RuntimeError("one process alone can call train: several ranks start train.py with mpiexec")
    model = run.trainer.model
    model.eval()
    history = History(run.folder)
    return Trained(run.folder, model, run.data.tokenizer, run.data, history, run.diagnosis, run.sample)


def plain(flags: dict) -> dict:
    """`flags` with paths as texts, and one text where several are allowed as a tuple of one."""
    kinds = {field.name: field for field in fields(TrainConfig) if field.name not in COMMANDS}
    found = {}
    for name, value in flags.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {near[0]}?" if near else "python train.py --help lists what there is"
            raise TypeError(f"train has no parameter {name}: {hint}")
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(kinds[name].default, tuple):
            several = (value,) if isinstance(value, str) else value
            value = tuple(map(os.fspath, several))
        found[name] = value
    return found
