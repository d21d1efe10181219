"""What a run measured, as columns: the lines of metrics.jsonl by name, for pictures and for the diagnosis."""

from pathlib import Path

import numpy as np

from gpt.config.options import TrainConfig
from gpt.config.toml import read_run_config
from gpt.errors import RunError
from gpt.notebook import LossCurve, html
from gpt.runs.folder import demand_run
from gpt.runs.metrics import read_metrics

MOST_ROWS = 20  # of a table
HEADS = {
    "en": ("step", "training loss", "validation loss", "bits a byte"),
    "zh": ("步数", "训练损失", "验证损失", "每字节比特数"),
}


class History:
    """The measurements of the run in `run_dir`, and the configuration it was started with.

    Raises UsageError if there is no run, RunError if its files are damaged or hold no measurement.
    """

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir = Path(run_dir)
        demand_run(run_dir)
        self.config = read_run_config(TrainConfig, run_dir / "config.toml")
        self.lines = read_metrics(run_dir)
        if not self.lines:
            raise RunError(f"{run_dir} has measured nothing yet: its metrics.jsonl is empty")

    def column(self, *names: str) -> tuple[np.ndarray, ...]:
        """(steps, values of names[0], values of names[1], …): float64, of the lines that have all of them.

        What was not finite is NaN. Raises RunError for a value that is no number.
        """
        rows = [[line["step"], *map(line.get, names)] for line in self.lines if all(name in line for name in names)]
        for row in rows:
            for name, value in zip(("step", *names), row, strict=True):
                if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise RunError(f"{self.run_dir / 'metrics.jsonl'} is damaged: {name} at step {row[0]} is no number")
        table = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)
        return tuple(table.reshape(len(rows), 1 + len(names)).T)

    def best(self) -> tuple[int, float] | None:
        """(step, validation loss) of the lowest validation loss after a step, the first of several; None if none
        was finite."""
        steps, losses = self.column("val_loss")
        steps, losses = steps[steps > 0], losses[steps > 0]
        if not np.isfinite(losses).any():
            return None
        i = int(np.nanargmin(losses))
        return int(steps[i]), float(losses[i])

    def html(self, language: str = "en") -> str:
        """The curve of the losses and a table of the evaluations; `language` is "en" or "zh"."""
        head = HEADS[language]
        evaluations = zip(*self.column("train_loss", "val_loss", "val_bits_per_byte"), strict=True)
        rows = [(int(step), *map(float, values)) for step, *values in evaluations]
        shown = rows[:: max(1, -(-len(rows) // MOST_ROWS))]
        if rows and shown[-1] != rows[-1]:
            shown.append(rows[-1])
        curve = LossCurve(self.lines, language).svg()
        return f"<div>{curve}</div>" + html.table(head, shown, str(self.run_dir))

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"History({str(self.run_dir)!r}, {self.lines[-1]['step']} steps)"
