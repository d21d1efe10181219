"""The loss curve: training and validation loss, the gap between them, the best step, and the learning rate below.

Of several runs, the validation losses in one plot. Runs with different tokenizers cut a text into tokens of
different sizes, and a loss in nats a token then says nothing about which is better; those are compared in bits
a byte, where every one of them has measured that. Of runs that learned different texts neither says so.

A loss that falls to a fraction of where it began has a logarithmic axis: on an even one most of the run would be a
flat line along the bottom, and the gap between the curves would not show.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.pictures.figure import (
    BLUE,
    COLOURS,
    DASHES,
    GREEN,
    GREY,
    PALE,
    VERMILION,
    log_ticks,
    picture,
    plain,
    steps_axis,
)
from gpt.runs.history import History

LOGARITHMIC = 3.0  # an axis on which the highest loss is that many times the lowest
DEEPEST = 1e-3  # of the highest loss: what a logarithmic axis goes down to

ONE = (
    "What to look for: both curves begin where an untrained model stands, about as well as guessing; both falling "
    "together is learning. Where validation turns up while training goes on falling, the shaded gap opens: the model "
    "memorises its training text, and more steps do harm. The star is the best step; sample.py takes its checkpoint. "
    "Two curves that are still falling at the right edge ask for more steps."
)
SEVERAL = (
    "What to look for: {lower}; stars mark each run's best step. The bold line of a colour is validation, the faint "
    "one training: a wide distance between the two of a run is overfitting."
)
LOWER = "the lower curve predicts unseen text better"
NOT_COMPARABLE = (
    "these runs were given different texts (--data), some easier to predict than others, so compare a curve with "
    "itself and its shape with the others' shapes, not their heights"
)
BYTES = " The runs cut text into different tokens, so they are compared in bits a byte."


def draw_loss(run_dirs: Sequence[Path], path: Path) -> None:
    """Draw the loss of one run, or compare those of several, into the picture `path`.

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
        label = _if_any(losses, "training, single batches")
        above.plot(steps, losses, color=PALE, linewidth=0.9, marker=marker, label=label)
        steps, train, val = run.column("train_loss", "val_loss")
        gap = _if_any(train + val, "gap") if len(steps) > 1 else None
        above.fill_between(steps, train, val, color=VERMILION, alpha=0.18, linewidth=0, label=gap)
        above.plot(steps, train, color=BLUE, marker="o", markersize=3.5, label=_if_any(train, "training"))
        label = _if_any(val, "validation")
        above.plot(steps, val, color=VERMILION, marker="s", markersize=3.5, linestyle="--", label=label)
        _mark_best(above, run.best())
        _fit(above, [losses, train, val], first_finite(losses, val), "loss (nats a token")
        if above.get_legend_handles_labels()[0]:
            above.legend(loc="upper right")
        _rate(below, run)


def _mark_best(axes, best) -> None:
    if best is None:
        return
    step, loss = best
    label = f"best step {step:,}: {loss:.3f}"
    axes.plot([step], [loss], color=GREEN, marker="*", markersize=15, linestyle="none", label=label, zorder=5)


def _if_any(values: np.ndarray, label: str) -> str | None:
    """The label of a curve with these values: none in the legend where nothing of it is drawn."""
    return label if np.isfinite(values).any() else None


def _fit(axes, series, begin: float, label: str) -> None:
    """Bound the loss axis by twice the loss that learning began with: one that ran away must not flatten the rest.

    `label` is the axis' name up to what is said of the axis itself.
    """
    values = np.concatenate(series)
    values = values[np.isfinite(values)]
    axes.set_ylabel(f"{label})")
    if not values.size:
        return
    low, high = values.min(), min(values.max(), 2 * begin)
    if LOGARITHMIC * max(low, 0.0) < high:
        _logarithmic(axes, max(low, DEEPEST * high), high)
        axes.set_ylabel(f"{label}, logarithmic axis)")
    else:
        margin = 0.06 * max(high - low, 0.0) + 1e-3
        axes.set_ylim(low - margin, max(low, high) + margin)


def _logarithmic(axes, low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=log_ticks(low, high)))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
    margin = (high / low) ** 0.06
    axes.set_ylim(low / margin, high * margin)


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
    steps_axis(axes)


def draw_several(runs: Sequence[History], path: Path) -> None:
    """Every run's validation loss, its training loss faint beside it, its best step marked."""
    in_bytes = _differ_in_tokens(runs)
    names = labels([run.run_dir for run in runs])
    same_text = len({_text_of(run) for run in runs}) == 1
    caption = SEVERAL.format(lower=LOWER if same_text else NOT_COMPARABLE) + BYTES * in_bytes
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
        _fit(axes, shown, max(map(first_finite, shown)), "loss (bits a byte" if in_bytes else "loss (nats a token")
        steps_axis(axes)
        axes.legend(loc="upper right")


def _text_of(run: History) -> tuple:
    """What a run was told of its text, as far as it decides what its losses are of."""
    data = tuple(spec.removeprefix("known:") for spec in run.config.data) or ("tales",)
    return data, run.config.val_data, run.config.split


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
