"""One text cut into characters and into BPE pieces, with the number of tokens that each way takes."""

import re
from collections.abc import Iterable
from pathlib import Path

from gpt.pictures.figure import picture
from gpt.pictures.fonts import BASE, Letters, width
from gpt.pictures.token_label import text_label, token_label

MOST_CHARACTERS = 240
END = re.compile(r"(?<=\S)(?=\s)|(?<=[。！？；，、])")
END_OF_WORD = 40  # characters: so far back an end is looked for
WIDTH = 8.6  # inches
CELLS = 76  # in a line
GAP = 0.35  # cells between two tokens
LINE = 0.29  # inches
FILLS = "#CFE3F2", "#FBE3C0"  # pale blue, pale orange: neighbours differ

CAPTION = (
    "What to look for: each box is one token; ␣ is a space, ⏎ a line break. BPE makes frequent pieces, often whole "
    "words with the space before them, into one token: fewer tokens for the same text, so the same context reaches "
    "further back, at the price of a larger vocabulary to choose from. Characters need no more than an alphabet, "
    "and must learn to spell."
)


def draw_segmentation(text: str, bpe, n_characters: int, path: Path) -> None:
    """Cut `text` both ways: with the tokenizer `bpe`, and into characters, of which the corpus has `n_characters`.

    Of a long text the beginning is shown, and counted, up to the end of a word.
    """
    text = beginning(text, MOST_CHARACTERS)
    pieces = [token_label(bpe, token) for token in bpe.encode(text)]
    characters = [text_label(letter) for letter in text]
    letters = Letters("".join(pieces + characters))
    ways = {
        f"characters: {len(text)} tokens, vocabulary of {n_characters:,}": characters,
        f"BPE: {len(pieces)} tokens, vocabulary of {bpe.vocab_size:,}": pieces,
    }
    laid = [(heading, *lay_out(map(letters, labels))) for heading, labels in ways.items()]
    height = sum((lines + 1.6) * LINE for _, _, lines in laid)
    title = f"One text, {len(text)} characters or {len(pieces)} BPE tokens"
    title += f" ({len(text) / max(1, len(pieces)):.1f} characters each)"
    with picture(path, title, CAPTION, WIDTH, height, text="".join(pieces + characters)) as (figure, _):
        axes = figure.subplots()
        axes.set_axis_off()
        axes.margins(0)
        axes.set_xlim(0, CELLS)
        axes.set_ylim(height / LINE, 0)
        top = 0.0
        for heading, boxes, lines in laid:
            axes.text(0, top + 0.7, heading, va="center", fontsize=11, fontweight="bold", family=BASE)
            for i, (label, x, line, cells) in enumerate(boxes):
                _box(axes, label, x, top + 1.2 + line, cells, FILLS[i % 2], letters.families)
            top += lines + 1.6


def beginning(text: str, most: int) -> str:
    """As much of a text as `most` characters hold, cut between words or after a Chinese comma or full stop.

    >>> beginning("the bear met the fox", 16), beginning("小熊来了，狐狸在河边钓鱼", 8)
    ('the bear met the', '小熊来了，')
    """
    if len(text) <= most:
        return text
    ends = [match.start() for match in END.finditer(text, 0, most + 1)]
    return text[: ends[-1] if ends and ends[-1] > most - END_OF_WORD else most]


def _box(axes, label, x, y, cells, fill, families) -> None:
    from matplotlib.patches import Rectangle

    frame = {"facecolor": fill, "edgecolor": "#8A8A8A", "linewidth": 0.7, "clip_on": False}  # whole at the margin too
    axes.add_patch(Rectangle((x, y + 0.06), cells, 0.86, **frame))
    family = ["DejaVu Sans Mono", *families]
    axes.text(x + cells / 2, y + 0.5, label, ha="center", va="center_baseline", family=family)


def lay_out(labels: Iterable[str]) -> tuple[list[tuple[str, float, int, float]], int]:
    """([(label, x in cells, line, width in cells)], number of lines): boxes side by side, broken into lines."""
    boxes, x, line = [], 0.0, 0
    for label in labels:
        cells = min(width(label) + 0.5, CELLS)
        if x + cells > CELLS:
            x, line = 0.0, line + 1
        boxes.append((label, x, line, cells))
        x += cells + GAP
    return boxes, line + 1
