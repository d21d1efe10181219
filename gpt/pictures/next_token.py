"""The next token's probabilities as the model gives them, and what temperature, top-k and top-p make of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.pictures.figure import BLUE, GREY, ORANGE, PALE, VERMILION, picture
from gpt.pictures.fonts import Letters
from gpt.pictures.token_label import LONGEST, token_label
from gpt.sampling import filters
from gpt.sampling.kv_cache import Decoder

BARS = 14
BAR = 0.72  # of a row's height
WAVERING = 0.35
PROMPT_SHOWN = 60  # letters wide

CAPTION = (
    "What to look for: bars are probabilities, outlines the model's own beside what a control made of them; each "
    "control stands alone here. Where most of it lies with the many other tokens, their bar is cut off (▸). A "
    "temperature below 1 makes likely tokens likelier but drops none; top_k keeps a fixed number, whether the model "
    "is sure or not; top_p keeps few where the model is sure and many where it is not. What is dropped is never "
    "drawn, and the rest share its probability."
)


def draw_next_token(
    model, tokenizer, ids: Sequence[int], path: Path, *, temperature: float, top_k: int, top_p: float
) -> None:
    """Draw the distribution after the prompt `ids` before and after each of the three controls."""
    logits = model.device.to_host(Decoder(model).prefill([list(ids)])[0]).astype(np.float64)
    panels = {
        "the model's own": logits,
        f"temperature {temperature:g}": filters.temperature(logits, temperature),
        f"top_k {top_k}": filters.top_k(logits, top_k),
        f"top_p {top_p:g}": filters.top_p(logits, top_p),
    }
    panels = {name: filters.softmax(z) for name, z in panels.items()}
    own = panels["the model's own"]
    best = np.argsort(-own, kind="stable")[:BARS]
    labels = [token_label(tokenizer, int(token)) for token in best]
    prompt = " ".join(tokenizer.decode(ids).split())
    others = own.size - best.size
    height = 0.24 * (len(best) + 1) + 1.1
    title = f"The next token after “{Letters(prompt).end_of(prompt, PROMPT_SHOWN)}”"
    with picture(path, title, CAPTION, 10, height, text="".join([prompt, *labels])) as (figure, letters):
        grid = figure.subplots(1, len(panels), sharey=True)
        rows = np.arange(len(best) + (others > 0))
        before = _bars(own, best, others)
        for axes, (name, q), colour in zip(grid, panels.items(), (GREY, BLUE, ORANGE, VERMILION), strict=True):
            axes.barh(rows, _bars(q, best, others), color=colour, height=BAR)
            if q is not own:
                axes.barh(rows, before, fill=False, edgecolor="#333333", linewidth=0.9, height=BAR)
            kept = q > 0
            bits = -(q[kept] * np.log2(q[kept])).sum()
            axes.set_title(f"{name}\n{np.count_nonzero(kept):,} of {q.size:,} tokens\n{bits:.1f} bits")
            axes.set_xlabel("probability")
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        end = 1.35 * max(q[best].max() for q in panels.values())  # one token's bars are what there is to compare
        for axes, q in zip(grid, panels.values(), strict=True):
            axes.set_xlim(0, end)
            axes.axhline(len(best) - 0.5, color=PALE, linewidth=0.8)
            for row, bar, outline in zip(rows, _bars(q, best, others), before, strict=True):
                if max(bar, outline) > end:
                    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                    axes.text(0.95 * end, row, f"{percent(bar)} ▸", ha="right", va="center", bbox=paper)
                elif bar:
                    axes.text(max(bar, outline) + 0.02 * end, row, percent(bar), va="center")
        names = [letters(label, LONGEST) for label in labels] + [f"{others:,} others"] * (others > 0)
        grid[0].set_yticks(rows, names)
        grid[0].invert_yaxis()


def percent(probability: float) -> str:
    """A probability as a person reads it.

    >>> [percent(p) for p in (0.5, 0.024, 0.0002)]
    ['50%', '2.4%', '<0.1%']
    """
    if probability < 0.001:
        return "<0.1%" if probability else "0%"
    return f"{probability:.0%}" if probability >= 0.0995 else f"{probability:.1%}"


def _bars(q, best, others):
    """The probabilities of the best tokens and, where there are more, of all others together."""
    return np.append(q[best], np.delete(q, best).sum()) if others else q[best]


def undecided(model, ids: Sequence[int], at_least: int = 4) -> int:
    """How many of the `ids` to keep so that the model wavers between a few tokens: the place to look at.

    The position whose likeliest token has a probability nearest to WAVERING, with `at_least` tokens before it.
    """
    logits, _ = model(np.array([list(ids)]))
    logits = model.device.to_host(logits[0]).astype(np.float64)  # (T, V)
    q = np.array([filters.softmax(row) for row in logits])
    first = min(at_least, len(q)) - 1
    return first + int(abs(q[first:].max(-1) - WAVERING).argmin()) + 1
