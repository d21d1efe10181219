"""What every picture shares: its size, colours and letters, a caption that says what to look for, its way to disk.

A picture is drawn without a display, under matplotlib's own defaults whatever a user's matplotlibrc says, and
leaves matplotlib's settings as they were. Colours are those of Okabe and Ito (2008), which people who do not see
red and green apart can tell from each other; lines differ in their dashes too. A picture shown at its own size,
one pixel a pixel, has letters of 13 pixels and more.

The suffix of its path says what it is written as: PNG, of 100 dots an inch unless `resolution` says otherwise, or SVG.
"""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from gpt.files import write_bytes
from gpt.pictures.fonts import BASE, Letters

DPI = 100
EDGE = 0.15  # inches on the left, of title, caption and panels
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE, BLACK = "#E69F00", "#56B4E9", "#CC79A7", "#000000"
COLOURS = BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK
DASHES = "-", "--", "-.", ":"
GREY, PALE = "#666666", "#BBBBBB"

SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a $ in a text is a $
    "svg.hashsalt": "nanograd",  # names in an SVG are the same every time
}
CAPTION_POINTS = 10
LINE_INCHES = CAPTION_POINTS * 1.5 / 72

_dots_an_inch = ContextVar("dots_an_inch", default=DPI)


@contextmanager
def resolution(dots_an_inch: int) -> Iterator[None]:
    """`with resolution(200): ...`: pictures in it have so many dots an inch; their letters grow with them."""
    token = _dots_an_inch.set(dots_an_inch)
    try:
        yield
    finally:
        _dots_an_inch.reset(token)


@contextmanager
def picture(path: Path, title: str, caption: str, width: float, height: float, text: str = "") -> Iterator[tuple]:
    """`with picture(...) as (figure, letters): ...` draws into `figure`; at the end it is written to `path`.

    `width` and `height` are inches without title and caption. `text` is all that will be shown
    of the user's text, that in the title included: what no font has letters for, `letters(part)` writes as code
    points, and the caption says so. Raises RunError when the file cannot be written.
    """
    letters = Letters(text)  # which imports matplotlib first, and with care
    from matplotlib import style
    from matplotlib.figure import Figure

    caption = " ".join([caption, letters.note]).strip()
    lines = textwrap.wrap(caption, int((width - 2 * EDGE) * DPI / 7.2))
    below, above = len(lines) * LINE_INCHES + 0.15, 0.4
    total = height + below + above
    with style.context(["default", SETTINGS | {"font.family": letters.families}]):
        figure = Figure(figsize=(width, total), dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - (below + above) / total), w_pad=EDGE, h_pad=0.08)
        weight = "bold" if letters.families == [BASE] else "normal"  # a font for other letters may have no bold ones
        figure.text(EDGE / width, 1 - 0.12 / total, letters(title), va="top", fontsize=13, fontweight=weight)
        yield figure, letters
        figure.text(EDGE / width, 0.1 / total, "\n".join(lines), va="bottom", color="#333333", linespacing=1.4)
        kind = path.suffix.removeprefix(".")
        image = io.BytesIO()
        figure.savefig(image, format=kind, dpi=_dots_an_inch.get(), metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, image.getvalue())


def steps_axis(axes) -> None:
    """Steps along an axis: whole numbers, with commas."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlabel("step")


def plain(value: float, position=None) -> str:
    """A number on a logarithmic axis, as a person writes it."""
    return f"{value:g}"


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """In each decade of a logarithmic axis from `low` to `high`: the multiples of a power of ten that get a tick."""
    return (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
