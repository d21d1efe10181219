"""The book's figures: one style, and SVG files that stay the same until what is drawn changes.

matplotlib writes different bytes in every version. So a file carries a fingerprint of what is drawn: data, labels,
colours, size. Whether a figure is current is asked of that.
"""

import hashlib
import io
import re
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

# From Okabe and Ito (2008): people who do not see red and green apart can tell them from each other.
BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#AA5F8F", "#8A8A8A", "#333333"

STYLE = {
    "font.size": 12,  # on a telephone a figure is shown at 60 % of its size
    "axes.titlesize": 12.5,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "figure.facecolor": "white",
    "axes.prop_cycle": matplotlib.cycler(color=[BLUE, ORANGE, GREEN, PURPLE, GREY]),
    "svg.fonttype": "path",
    "svg.hashsalt": "nanograd",
}
NO_DATE = {"Date": None, "Creator": None}
DIGITS = 5  # of the largest number of an array: what is below differs from one BLAS to another
MARK = re.compile(r"<!-- drawn: (\w+) -->")


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 6.0, height: float = 3.4, **options):
    """A figure of `width` by `height` inches and its axes, one or an array; `options` as for Figure.subplots."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def rounded(values, digits: int = DIGITS) -> np.ndarray:
    """`values` with `digits` decimals, and no minus sign before a zero."""
    return np.round(np.asarray(values, dtype=float), digits) + 0.0


def numbers(values) -> str:
    values = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    finite = np.abs(values[np.isfinite(values)])
    scale = finite.max() if finite.size and finite.max() > 0 else 1.0
    return f"{values.shape} {scale:.4g} {rounded(values / scale).tolist()}"


def described(figure: Figure):
    """Lines of text that are the same for two figures exactly when they show the same."""
    yield f"figure {numbers(figure.get_size_inches())} {[text.get_text() for text in figure.texts]}"
    yield figure.get_suptitle()
    for axes in figure.axes:
        yield f"axes {axes.get_title()} | {axes.get_xlabel()} | {axes.get_ylabel()}"
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            yield f"{axis.get_scale()} {list(formatter.seq) if isinstance(formatter, FixedFormatter) else ''}"
        if not axes.get_autoscalex_on():
            yield f"x {numbers(axes.get_xlim())}"
        if not axes.get_autoscaley_on():
            yield f"y {numbers(axes.get_ylim())}"
        for line in axes.lines:
            look = f"{line.get_color()} {line.get_linestyle()} {line.get_marker()} {line.get_label()}"
            yield f"line {look} {numbers(line.get_xydata())}"
        for patch in axes.patches:
            place = patch.get_path().transformed(patch.get_patch_transform()).vertices
            yield f"patch {numbers(patch.get_facecolor())} {numbers(place)}"
        for item in axes.collections:
            yield f"collection {numbers(item.get_offsets())} {numbers(item.get_facecolor())} {array_of(item)}"
            yield from (numbers(path.vertices) for path in item.get_paths())
        for image in axes.images:
            yield f"image {numbers(image.get_array())} {image.get_cmap().name}"
        for text in axes.texts:
            yield f"text {text.get_text()} {numbers(text.get_position())}"
        if axes.get_legend():
            yield f"legend {[text.get_text() for text in axes.get_legend().get_texts()]}"


def array_of(item: Collection) -> str:
    return "" if item.get_array() is None else numbers(item.get_array())


def fingerprint(figure: Figure) -> str:
    style = [item for item in STYLE.items() if item[0] != "axes.prop_cycle"]  # colours are in the lines
    lines = [repr(style), *described(figure)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def mark_of(path: Path) -> str | None:
    """The fingerprint of the figure that was written to `path`; None where there is none."""
    found = MARK.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found and found.group(1)


def svg_of(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_DATE)
    head, tag, rest = buffer.getvalue().partition("<svg ")
    lines = [line.rstrip() for line in (tag + rest).splitlines()]
    return f"{head}<!-- drawn: {fingerprint(figure)} -->\n" + "\n".join(lines) + "\n"
