"""Attention heatmaps: how much each token of a prompt looks at each one before it, in every head of every block."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.pictures.figure import picture
from gpt.pictures.token_label import LONGEST, token_label

MOST_TOKENS = 24  # with more the labels no longer fit
HEADS_IN_A_ROW = 2  # up to 4 heads; else 4
TICKS = 0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1  # of the scale of weights, which gives faint ones more room

CAPTION = (
    "What to look for: a row is a token and says where it looks; its weights add up to 1, and nothing right of the "
    "diagonal exists, for no token sees those that follow. A bright diagonal looks at the token itself, a bright "
    "line beside it at the one before, a bright column at one token that all of them look at. A head whose rows "
    "are of one even colour spreads its attention and has not found anything to look for."
)


def attention_weights(model, ids: Sequence[int]) -> list[np.ndarray]:
    """Each block's attention weights for a prompt of T ids: (H, T, T) float64, rows sum to 1, upper part 0.

    P_ij = softmax_j(q_i . k_j / sqrt(D)) over j <= i, from the model's own queries and keys.
    Raises ValueError for a prompt that is empty, too long or not of the vocabulary.
    """
    device = model.device
    model(np.array([ids]))  # checks the ids, and the model's idea of a context
    x = model.embed(device.ids(np.array([ids]), below=model.config.vocab_size))  # (1, T, C)
    weights = []
    for block in model.h:
        heads = block.attn.heads
        q, k, _ = heads.split(block.attn.queries_keys_values(block.ln_1(x)))  # (1, H, T, D), (1, K, T, D)
        q, k = (device.to_host(part[0]).astype(np.float64) for part in (q, k))
        k = k.repeat(heads.n_head // heads.n_kv_head, axis=0)  # (H, T, D)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])  # (H, T, T)
        scores[:, ~np.tri(len(ids), dtype=bool)] = -np.inf
        e = np.exp(scores - scores.max(-1, keepdims=True))
        weights.append(e / e.sum(-1, keepdims=True))
        x = block(x)
    return weights


def draw_attention(model, tokenizer, ids: Sequence[int], folder: Path, kind: str = "png") -> list[Path]:
    """Draw one picture for each block into `folder`, as files of that kind; their paths.

    Of a long prompt the last tokens are shown.
    """
    ids = list(ids)[-min(MOST_TOKENS, model.config.block_size) :]
    labels = [token_label(tokenizer, token) for token in ids]
    paths = []
    for number, heads in enumerate(attention_weights(model, ids)):
        path = folder / f"attention-block-{number}.{kind}"
        draw_block(heads, labels, f"Attention in block {number} of {len(model.h)}, counted from 0", path)
        paths.append(path)
    return paths


def draw_block(heads: np.ndarray, labels: Sequence[str], title: str, path: Path) -> None:
    """A heatmap for each of `heads` (H, T, T), with `labels` on both axes."""
    n = len(heads)
    columns = min(n, HEADS_IN_A_ROW if n <= 2 * HEADS_IN_A_ROW else 4)
    rows = -(-n // columns)
    side = max(2.6, 0.17 * len(labels) + 0.9)  # inches: 17 pixels for each label
    width = max(5.0, columns * side + 0.9)
    with picture(path, title, CAPTION, width, rows * (side + 0.2), text="".join(labels)) as (figure, letters):
        from matplotlib.colors import PowerNorm

        grid = figure.subplots(rows, columns, squeeze=False)
        lower = np.tri(len(labels), dtype=bool)
        shown = [letters(label, LONGEST) for label in labels]
        for number, axes in enumerate(grid.flat):
            if number >= n:
                axes.remove()
                continue
            weights = np.ma.masked_array(heads[number], ~lower)
            image = axes.imshow(weights, cmap="viridis", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
            axes.set_title(f"head {number}")
            axes.grid(False)
            axes.tick_params(length=0)
            axes.set_xticks(range(len(shown)), shown, rotation=90)
            axes.set_yticks(range(len(shown)), shown)
            axes.set_ylabel("token that looks")
            axes.set_xlabel("token looked at")
        figure.colorbar(
            image,
            ax=figure.axes,
            shrink=0.5,
            aspect=30,
            label="weight",
            ticks=TICKS,
            format=lambda value, _: f"{value:g}",
        )
