"""What every picture shares: its size, colours and letters, a caption that says what to look for, its way to disk.

A picture is drawn without a display, under matplotlib's own defaults whatever a user's matplotlibrc says, and
leaves matplotlib's settings as they were. Colours are those of Okabe and Ito (2008), which people who do not see
red and green apart can tell from each other; lines differ in their dashes too. A picture shown at its own size,
one pixel a pixel, has letters of 13 pixels and more.
"""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt.files import write_bytes
from gpt.pictures.fonts import BASE, Letters

DPI = 100
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
}
CAPTION_POINTS = 10
LINE_INCHES = CAPTION_POINTS * 1.5 / 72


@contextmanager
def picture(path: Path, title: str, caption: str, width: float, height: float, text: str = "") -> Iterator[tuple]:
    """`with picture(...) as (figure, letters): ...` draws into `figure`; at the end it is written to `path` as PNG.

    `width` and `height` are inches (of 100 pixels) without title and caption. `text` is all that will be shown
    of the user's text, that in the title included: what no font has letters for, `letters(part)` writes as code
    points, and the caption says so. Raises RunError when the file cannot be written.
    """
    letters = Letters(text)  # which imports matplotlib first, and with care
    from matplotlib import style
    from matplotlib.figure import Figure

    caption = " ".join([caption, letters.note]).strip()
    lines = textwrap.wrap(caption, int((width - 0.3) * DPI / 7.2))
    below, above = len(lines) * LINE_INCHES + 0.15, 0.4
    total = height + below + above
    with style.context(["default", SETTINGS | {"font.family": letters.families}]):
        figure = Figure(figsize=(width, total), dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - (below + above) / total), w_pad=0.1, h_pad=0.08)
        weight = "bold" if letters.families == [BASE] else "normal"  # a font for other letters may have no bold ones
        figure.text(0.15 / width, 1 - 0.12 / total, letters(title), va="top", fontsize=13, fontweight=weight)
        yield figure, letters
        figure.text(0.15 / width, 0.1 / total, "\n".join(lines), va="bottom", color="#333333", linespacing=1.4)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI)
    write_bytes(path, png.getvalue())
