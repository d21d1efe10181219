"""The losses of a run as an SVG of a few kB: drawn in a millisecond, so that it can follow a training.

The loss axis is logarithmic: learning is fast at first and slow later, and both can be seen.
"""

import math
from collections.abc import Iterable

from gpt.notebook.html import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 40  # margins
FONT = 'font-family="sans-serif" font-size="13"'
GRID, INK = "#dddddd", "#444444"
LINES = {"loss": ("#bbbbbb", 1, ""), "train_loss": ("#0072B2", 2, ""), "val_loss": ("#D55E00", 2, "6 4")}
WORDS = {
    "en": {"loss": "batch", "train_loss": "training", "val_loss": "validation", "x": "step", "y": "loss (nats)"},
    "zh": {"loss": "单个批次", "train_loss": "训练损失", "val_loss": "验证损失", "x": "步数", "y": "损失（nats）"},
}
MOST_POINTS = 400  # of a line


class LossCurve:
    """The curve of lines of metrics.jsonl: `loss` of batches, `train_loss` and `val_loss` of evaluations, by `step`.

    `language` is "en" or "zh". A notebook shows it as it is; `svg()` is its text.
    """

    def __init__(self, lines: Iterable[dict] = (), language: str = "en"):
        if language not in WORDS:
            raise ValueError(f"language must be one of {', '.join(WORDS)}, not {language!r}")
        self.words = WORDS[language]
        self.points = {name: [] for name in LINES}  # {name: [(step, loss), ...]}, the finite and positive ones
        for line in lines:
            self.add(line)

    def add(self, line: dict) -> None:
        for name, points in self.points.items():
            value = line.get(name)
            if value is not None and math.isfinite(value) and value > 0:
                points.append((line["step"], float(value)))

    def svg(self) -> str:
        """The picture; without any point an empty frame."""
        steps = [step for points in self.points.values() for step, _ in points]
        losses = [loss for points in self.points.values() for _, loss in points]
        last, low, high = max([1, *steps]), min(losses, default=1) * 0.95, max(losses, default=2) * 1.05

        def x(step):
            return LEFT + (WIDTH - LEFT - RIGHT) * step / last

        def y(loss):
            return TOP + (HEIGHT - TOP - BOTTOM) * (1 - math.log(loss / low) / math.log(high / low))

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'style="max-width: 100%; height: auto">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        ]
        for value in log_ticks(low, high):
            parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
            parts.append(text(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
        for value in ticks(last):
            parts.append(f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
            parts.append(text(x(value), HEIGHT - BOTTOM + 17, f"{value:,}", "middle"))
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.words["x"], "middle"))
        parts.append(text(LEFT, 20, self.words["y"], "start"))
        place = 230
        for name, points in self.points.items():
            if not points:
                continue
            colour, width, dashes = LINES[name]
            style = f'stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}" fill="none"'
            some = points[: -1 : max(1, -(-len(points) // MOST_POINTS))] + points[-1:]
            path = "L".join(f"{x(step):.1f} {y(loss):.1f}" for step, loss in some)
            parts.append(f'<path d="M{path}" {style}/>')
            if width > 1:
                parts += [
                    f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="3" fill="{colour}"/>' for step, loss in some
                ]
            parts.append(f'<path d="M{place} 16h24" {style}/>')
            parts.append(text(place + 30, 20, self.words[name], "start"))
            place += 135
        return "".join([*parts, "</svg>"])

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        last = {name: points[-1] for name, points in self.points.items() if points}
        return f"LossCurve({', '.join(f'{name} {loss:.4f} at step {step}' for name, (step, loss) in last.items())})"


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" {FONT}>{escape(words)}</text>'


def ticks(last: int) -> list[int]:
    """Round whole numbers from 0 to `last`, at most seven.

    >>> ticks(1000), ticks(12)
    ([0, 200, 400, 600, 800, 1000], [0, 2, 4, 6, 8, 10, 12])
    """
    size = 10 ** int(math.log10(max(last, 1)))
    step = next(
        step
        for step in (max(1, size // 10), size // 5, size // 2, size, 2 * size, 5 * size)
        if step and last / step <= 6
    )
    return list(range(0, last + 1, step))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: 1, 2, 5 of each power of ten; of a short way all single digits, or tenths.

    >>> log_ticks(0.19, 6.5)
    [0.2, 0.5, 1.0, 2.0, 5.0]
    """
    first = math.floor(math.log10(low))
    powers = range(first - 1, math.ceil(math.log10(high)) + 1)
    for digits in (1, 2, 5), range(1, 10), [tenth / 10 for tenth in range(10, 100)]:
        found = [round(digit * 10.0**power, 9 - first) for power in powers for digit in digits]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            break
    return found[:: max(1, len(found) // 6)]
