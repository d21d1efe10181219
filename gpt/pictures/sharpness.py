"""How curved the loss was over training: the largest eigenvalue of its Hessian, beside the edge of stability."""

from pathlib import Path

import numpy as np

from gpt.errors import RunError
from gpt.pictures.figure import BLUE, VERMILION, picture, plain, steps_axis
from gpt.runs.history import History

CAPTION = (
    "What to look for: the largest eigenvalue of the loss's Hessian, on a few windows of the training text. Plain "
    "gradient descent is stable below 2 / rate (dashed): above it, a step overshoots along that direction. AdamW "
    "divides every direction by its own size, so its edge is another; what stays true is the pattern: sharpness rises "
    "while the loss falls, levels off at an edge that a larger rate puts lower, and rises again as the rate decays. "
    "The trace, the sum of all eigenvalues, is an estimate with its standard error."
)


def draw_sharpness(run: History, path: Path) -> None:
    """Draw what `--log_sharpness` has logged. Raises RunError if it has logged nothing."""
    lines = [line for line in run.lines if isinstance(line.get("sharpness"), int | float)]
    if not lines:
        raise RunError(f"{run.run_dir} has logged no sharpness: train with --log_sharpness N")
    steps = np.array([line["step"] for line in lines])
    largest, trace, error = (
        np.array([float(line.get(name) or np.nan) for line in lines])
        for name in ("sharpness", "hessian_trace", "hessian_trace_error")
    )
    name = run.run_dir.name
    logged, rates = run.column("lr")
    with picture(path, f"Sharpness of {name}", CAPTION, 8, 4.2, text=name) as (figure, _):
        axes = figure.subplots()
        axes.plot(steps, largest, color=BLUE, marker="o", markersize=4, label="sharpness: the largest eigenvalue")
        axes.errorbar(steps, trace, yerr=error, color="0.55", linewidth=1, capsize=2, label="trace: the sum of all")
        shown = (logged >= steps[0]) & (rates > 0)
        if shown.any():
            axes.plot(logged[shown], 2 / rates[shown], color=VERMILION, linestyle="--", label="2 / learning rate")
        axes.set_yscale("symlog" if min(largest.min(), trace.min()) <= 0 else "log")
        axes.yaxis.set_major_formatter(plain)
        steps_axis(axes)
        axes.set_ylabel("nats per unit of weight, squared")
        axes.legend()
