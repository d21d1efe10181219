"""The learning rate of each step: as the flags plan it, and as it was logged."""

from pathlib import Path

import numpy as np

from gpt.pictures.figure import BLUE, SKY, VERMILION, picture, steps_axis
from gpt.runs.history import History

POINTS = 2000

CAPTION = (
    "What to look for: the rate climbs over the warmup, while AdamW's averages are still made of few gradients{then}. "
    "Dots are the steps logged so far; they lie on the line unless the run was resumed with another --max_steps. A "
    "loss that jumps where the line is highest asks for a lower --lr or more --warmup_steps."
)
THEN = {
    "cosine": ", then follows half a cosine down, so that the last steps settle",
    "wsd": ", stays at its height for as long as the run may still go on, then falls in a line, and the loss with it",
    "constant": ", and stays at its height: the last steps do not settle",
}


def draw_schedule(run: History, path: Path) -> None:
    """Draw the planned and the logged learning rate of a run."""
    config, name = run.config, run.run_dir.name
    last = max(config.max_steps, 1)
    steps = np.unique(np.linspace(1, last, min(last, POINTS)).round().astype(int))
    plan = [config.lr_at(int(step) - 1) for step in steps]
    logged, rates = run.column("lr")
    caption = CAPTION.format(then=THEN[config.schedule])
    with picture(path, f"Learning rate of {name}", caption, 8, 3.6, text=name) as (figure, _):
        axes = figure.subplots()
        if config.warmup:
            label = f"warmup, {config.warmup:,} steps"
            axes.axvspan(0, config.warmup, color=SKY, alpha=0.25, linewidth=0, label=label)
        axes.plot(steps, plan, color=BLUE, label="planned", marker="o" if last == 1 else None)
        some = slice(None, None, max(1, len(logged) // 40))
        axes.plot(logged[some], rates[some], "o", color=VERMILION, markersize=4, label="logged")
        peak = int(np.argmax(plan))
        axes.annotate(f"--lr {config.lr:g}", (steps[peak], plan[peak]), (6, 4), textcoords="offset points", va="bottom")
        if config.schedule != "constant":
            end = f"--min_lr {config.final_lr:g}"
            axes.annotate(
                end,
                (steps[-1], plan[-1]),
                (0, 20) if config.schedule == "cosine" else (-60, 4),
                textcoords="offset points",
                ha="right",
            )
        axes.set_ylim(0, 1.15 * max([config.lr, *rates[np.isfinite(rates)]]))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        steps_axis(axes)
        axes.set_ylabel("learning rate")
        axes.legend(loc="upper right" if config.schedule == "cosine" else "lower center")
