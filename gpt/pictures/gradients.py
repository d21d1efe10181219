"""The gradient's norm over training: of the whole model, and of each of its parts."""

from pathlib import Path

import numpy as np

from gpt.errors import RunError
from gpt.pictures.figure import BLUE, VERMILION, log_ticks, picture, plain, steps_axis
from gpt.runs.history import History

ROW = 0.27  # inches for each part of the model
MOST_LABELS = 44

CAPTION = (
    "What to look for: rows are the model's parts, from the embeddings to the head; bright is a large gradient "
    "before clipping. Parts differ in size (ln_f is dark, for it has few parameters), so compare a row with itself: "
    "one that turns dark has stopped learning; one that lights up just before the loss jumps is where training "
    "diverged: lower --lr or --grad_clip. Steps above the dashed line were scaled down to it."
)


def draw_gradients(run: History, path: Path) -> None:
    """Draw the norms that the run has logged. Raises RunError if it has logged none."""
    steps, layers, norms = norms_by_layer(run)
    rows = len(layers)
    height = 1.9 + min(max(1.4, ROW * rows), ROW * MOST_LABELS)
    with picture(path, f"Gradient norm of {run.run_dir.name}", CAPTION, 8.6, height, run.run_dir.name) as (figure, _):
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import LogLocator, NullFormatter

        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, height - 1.9])
        whole_steps, whole = run.column("grad_norm")
        above.plot(whole_steps, whole, color=BLUE, marker="o" if len(steps) == 1 else None)
        if (whole > 0).any():
            above.set_yscale("log")
            above.yaxis.set_major_locator(LogLocator(subs=log_ticks(np.nanmin(whole), np.nanmax(whole))))
            above.yaxis.set_major_formatter(plain)
            above.yaxis.set_minor_formatter(NullFormatter())
        if run.config.grad_clip:
            above.axhline(run.config.grad_clip, color=VERMILION, linestyle="--", linewidth=1.3)
            label = f"dashed: --grad_clip {run.config.grad_clip:g}"
            above.set_title(label, loc="right", fontsize=10, color=VERMILION)  # above the panel, where no curve is
        above.set_ylabel("whole model")
        shown = np.ma.masked_where(~(norms > 0), norms)
        low, high = (shown.min(), shown.max()) if shown.count() else (1e-3, 1.0)
        mesh = below.pcolormesh(
            edges(steps),
            np.arange(rows + 1) - 0.5,
            shown.T,
            cmap="cividis",
            norm=LogNorm(low, max(high, low * 1.01)),
        )
        below.set_facecolor("#FFFFFF")
        below.grid(False)
        every = -(-rows // MOST_LABELS)
        below.set_yticks(range(0, rows, every), layers[::every])
        below.invert_yaxis()
        steps_axis(below)
        figure.colorbar(mesh, ax=below, label="norm", aspect=14, ticks=LogLocator(subs=(1, 2, 5)), format=plain)


def norms_by_layer(run: History) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(steps (S,), names of the L parts, norms (S, L)); what was not finite is NaN."""
    lines = [line for line in run.lines if isinstance(line.get("grad_norms"), dict)]
    if not lines:
        raise RunError(f"{run.run_dir} has logged no gradient norms by layer: it is older than that, or too short")
    layers = list(dict.fromkeys(name for line in lines for name in line["grad_norms"]))
    table = [[_number(line["grad_norms"].get(name)) for name in layers] for line in lines]
    return np.array([line["step"] for line in lines], float), layers, np.array(table)


def _number(value) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def edges(steps: np.ndarray) -> np.ndarray:
    """The borders (S + 1,) between rising steps (S,), half-way from one to the next."""
    middles = (steps[1:] + steps[:-1]) / 2
    first = (steps[1] - steps[0]) / 2 if len(steps) > 1 else 0.5
    last = (steps[-1] - steps[-2]) / 2 if len(steps) > 1 else 0.5
    return np.concatenate([[steps[0] - first], middles, [steps[-1] + last]])
