"""The loss curve: training and validation loss, the gap between them, the best step, and the learning rate below.

Of several runs, the validation losses in one plot. Runs with different tokenizers cut a text into tokens of
different sizes, and a loss in nats a token then says nothing about which is better; those are compared in bits
a byte, where every one of them has measured that.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.pictures.figure import BLUE, COLOURS, DASHES, GREEN, GREY, PALE, VERMILION, picture
from gpt.runs.history import History

ONE = (
    "What to look for: both curves falling together is learning. Where validation turns up while training goes on "
    "falling, the shaded gap opens: the model memorises its training text, and more steps do harm. The "
    "star is the best step; sample.py takes its checkpoint. Two curves that are still falling at the right edge "
    "ask for more steps."
)
SEVERAL = (
    "What to look for: the lower curve predicts unseen text better; stars mark each run's best step. Solid lines "
    "are validation, faint ones training: a wide distance between the two of a run is overfitting."
)
BYTES = " The runs cut text into different tokens, so they are compared in bits a byte."


def draw_loss(run_dirs: Sequence[Path], path: Path) -> None:
    """Draw the loss of one run, or compare those of several, into the PNG `path`.

    Raises UsageError, RunError for runs that are not there, are damaged or have measured nothing.
    """
    runs = [History(run_dir) for run_dir in run_dirs]
    if len(runs) == 1:
        draw_one(runs[0], path)
    else:
        draw_several(runs, path)


def draw_one(run: History, path: Path) -> None:
    """Losses, gap and best step above; the learning rate below."""
    name = run.run_dir.name
    with picture(path, f"Loss of {name}", ONE, 8, 5.4, text=name) as (figure, _):
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        steps, losses = run.column("loss")
        marker = "o" if len(steps) == 1 else None
        above.plot(steps, losses, color=PALE, linewidth=0.9, marker=marker, label="training, single batches")
        steps, train, val = run.column("train_loss", "val_loss")
        above.fill_between(steps, train, val, color=VERMILION, alpha=0.18, linewidth=0, label="gap")
        above.plot(steps, train, color=BLUE, marker="o", markersize=3.5, label="training")
        above.plot(steps, val, color=VERMILION, marker="s", markersize=3.5, linestyle="--", label="validation")
        _mark_best(above, run.best())
        _fit(above, [losses, train, val], first_finite(losses, val))
        above.set_ylabel("loss (nats a token)")
        above.legend(loc="upper right")
        _rate(below, run)


def _mark_best(axes, best) -> None:
    if best is None:
        return
    step, loss = best
    label = f"best step {step:,}: {loss:.3f}"
    axes.plot([step], [loss], color=GREEN, marker="*", markersize=15, linestyle="none", label=label, zorder=5)


def _fit(axes, series, begin: float) -> None:
    """Bound the loss axis by twice the loss that learning began with: one that ran away must not flatten the rest."""
    values = np.concatenate(series)
    values = values[np.isfinite(values)]
    if values.size:
        low, high = values.min(), min(values.max(), 2 * begin)
        margin = 0.06 * max(high - low, 0.0) + 1e-3
        axes.set_ylim(low - margin, max(low, high) + margin)


def first_finite(*series: np.ndarray) -> float:
    """The first finite value of the first series that has any; 0 if none has."""
    values = np.concatenate(series)
    values = values[np.isfinite(values)]
    return float(values[0]) if values.size else 0.0


def _rate(axes, run: History) -> None:
    steps, rates = run.column("lr")
    axes.plot(steps, rates, color=GREY, linewidth=1.5, marker="o" if len(steps) == 1 else None)
    axes.set_ylim(0, None)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    axes.set_ylabel("learning rate")
    axes.set_xlabel("step")


def draw_several(runs: Sequence[History], path: Path) -> None:
    """Every run's validation loss, its training loss faint beside it, its best step marked."""
    in_bytes = _differ_in_tokens(runs)
    names = labels([run.run_dir for run in runs])
    caption = SEVERAL + BYTES * in_bytes
    with picture(path, f"{len(runs)} runs compared", caption, 8, 5.2, text="".join(names)) as (figure, letters):
        axes = figure.subplots()
        shown = []
        for i, (run, name) in enumerate(zip(runs, names, strict=True)):
            colour, dashes = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
            steps, train, val = run.column("train_loss", "val_loss")
            if in_bytes:
                scale = _bits_a_byte(run)
                train, val = train * scale, val * scale
            shown += [train, val]
            axes.plot(steps, train, color=colour, linestyle=dashes, linewidth=1, alpha=0.45)
            label = letters(name)
            if np.isfinite(val).any():
                best = int(np.nanargmin(val))
                label = f"{label}: best {val[best]:.3f} at step {steps[best]:,.0f}"
                axes.plot(steps[best], val[best], color=colour, marker="*", markersize=14, zorder=5)
            axes.plot(steps, val, color=colour, linestyle=dashes, label=label)
        _fit(axes, shown, max(map(first_finite, shown)))
        axes.set_ylabel("loss (bits a byte)" if in_bytes else "loss (nats a token)")
        axes.set_xlabel("step")
        axes.legend(loc="upper right")


def _differ_in_tokens(runs: Sequence[History]) -> bool:
    """Whether bits a byte are what to compare: all have measured them, at different ratios to the loss."""
    scales = [_bits_a_byte(run) for run in runs]
    return None not in scales and max(scales) > 1.001 * min(scales)


def _bits_a_byte(run: History) -> float | None:
    """Bits a byte for each nat a token of this run, a constant of its text and tokenizer."""
    _, losses, bits = run.column("val_loss", "val_bits_per_byte")
    ratios = bits[losses > 0] / losses[losses > 0]
    ratios = ratios[np.isfinite(ratios)]
    return float(ratios[-1]) if ratios.size else None


def labels(run_dirs: Sequence[Path]) -> list[str]:
    """A short name for each run: the folder's, or as much of its path as tells it from the others."""
    paths = [Path(run_dir).absolute().parts for run_dir in run_dirs]
    for n in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-n:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return names
