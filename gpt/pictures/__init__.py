"""Pictures of a run: what its numbers and its model look like, as files in its folder.

    python -m gpt.pictures out/tales            everything below, for one run
    python -m gpt.pictures out/tales out/book   for each of the two, and their losses in one plot

    loss.png                 both losses, the gap between them, the best step (train.py draws this one itself)
    gradients.png            the gradient's norm by layer
    learning-rate.png        the schedule
    sharpness.png            how curved the loss was, of a run with --log_sharpness
    attention-block-N.png    who looks at whom, in every head of block N
    next-token.png           the next token before and after temperature, top-k and top-p
    segmentation.png         one text as characters and as BPE pieces
    loss-compared.png        several runs' losses; in the first one's folder

`--format svg` writes drawings that stay sharp at any size, `--dpi 200` PNG files of twice the pixels.

What the last four show is the prompt: `--prompt`, or else a line of the run's own validation text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from gpt.cli import command_line as cli
from gpt.cli.output import say
from gpt.config.flags import Checked, flag
from gpt.config.options import MachineFlags, TextFlags, WhichFlags
from gpt.data.prepare import load_or_train_tokenizer, usable_cache
from gpt.errors import UsageError
from gpt.files import make_folder
from gpt.pictures.attention import MOST_TOKENS, draw_attention
from gpt.pictures.figure import DPI, resolution
from gpt.pictures.gradients import draw_gradients
from gpt.pictures.loss import draw_loss, draw_one, draw_several, labels
from gpt.pictures.next_token import draw_next_token, undecided
from gpt.pictures.schedule import draw_schedule
from gpt.pictures.segmentation import draw_segmentation
from gpt.pictures.sharpness import draw_sharpness
from gpt.runs import folder as run_folder
from gpt.runs.history import History
from gpt.runs.load import find_text, load_model
from gpt.sampling.command import blas_threads
from gpt.sampling.streaming import start_ids

__all__ = ["PicturesConfig", "draw_loss", "draw_run", "main"]

EXAMPLES = """\
examples:
  python -m gpt.pictures out/tales
  python -m gpt.pictures out/tales --prompt "Once upon a time there was"
  python -m gpt.pictures out/tales out/tales-2       compare two runs
"""


@dataclass(frozen=True, kw_only=True)
class PicturesFlags(Checked):
    run_dirs: tuple[str, ...] = flag(
        (), "folders of runs", metavar="RUN_DIR", default_text="the newest in out/", path=True, positional=True
    )
    to: str | None = flag(
        None, "folder for the pictures", metavar="DIR", default_text="that of the run", path=True, aliases=("out_dir",)
    )
    prompt: str = flag(
        "",
        "text to show the model at work on; \\n, \\t and \\\\ are read as in sample.py",
        metavar="TEXT",
        default_text="validation text",
        escapes=True,
    )
    format: Literal["png", "svg"] = flag("png", "of the files; svg stays sharp at any size")
    dpi: int = flag(DPI, "dots an inch of a png", at_least=50, at_most=600)


@dataclass(frozen=True, kw_only=True)
class ControlFlags(Checked):
    temperature: float = flag(0.5, "in next-token.png", above=0)
    top_k: int = flag(5, "in next-token.png", at_least=1)
    top_p: float = flag(0.8, "in next-token.png", above=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class PicturesConfig(MachineFlags, TextFlags, ControlFlags, WhichFlags, PicturesFlags):
    """Pictures of one run or several, as PNG or SVG files."""


def draw_run(run: History, folder: Path, config: PicturesConfig) -> Iterator[Path]:
    """Draw every picture of one run into `folder`; yields the path of each when it is there."""
    make_folder(folder)
    pictures = [("loss", draw_one), ("gradients", draw_gradients), ("learning-rate", draw_schedule)]
    if run.config.log_sharpness:
        pictures.append(("sharpness", draw_sharpness))
    for name, draw in pictures:
        draw(run, folder / f"{name}.{config.format}")
        yield folder / f"{name}.{config.format}"
    model, tokenizer, checkpoint = load_model(run.run_dir, config.which, config.backend)
    data, reason = find_text(run.run_dir, tokenizer, checkpoint, config.data)
    if reason:
        say(f"{reason}; {'without it' if data is None else 'with it all the same'} go the pictures of this run")
    if data is None and not config.prompt:
        say("the next token and the pictures of attention need a text to show: give a --prompt")
        return
    room = min(MOST_TOKENS, model.config.block_size)
    if config.prompt:
        text, ids = config.prompt, start_ids(tokenizer, config.prompt)[-model.config.block_size :]
        cut = len(ids)
    else:
        ids = first_line(data.val, tokenizer)
        text, ids = tokenizer.decode(ids), ids[:room]
        cut = undecided(model, ids)
    yield from draw_attention(model, tokenizer, ids, folder, config.format)
    controls = {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
    path = folder / f"next-token.{config.format}"
    draw_next_token(model, tokenizer, ids[:cut], path, **controls)
    yield path
    if data is None:  # nothing to train the other tokenizer on
        return
    other = "bpe" if tokenizer.kind == "char" else "char"
    other = load_or_train_tokenizer(data.corpus, other, None, usable_cache(run.run_dir))
    bpe, char = (other, tokenizer) if tokenizer.kind == "char" else (tokenizer, other)
    path = folder / f"segmentation.{config.format}"
    draw_segmentation(text, bpe, char.vocab_size, path)
    yield path


def first_line(tokens: np.ndarray, tokenizer, n: int = 400) -> list[int]:
    """The tokens from the first beginning of a line on, among the first `n`; from the start if there is none."""
    ids = [int(token) for token in tokens[:n]]
    pieces = [tokenizer.token_bytes(token) for token in ids]
    for i, (piece, following) in enumerate(pairwise(pieces[: n // 2])):
        if piece.endswith(b"\n") and not following.startswith(b"\n"):
            return ids[i + 1 :]
    return ids


def main(arguments: list[str]) -> int:
    config = cli.parse(PicturesConfig, arguments, "python -m gpt.pictures", EXAMPLES)
    run_dirs = [Path(run_dir) for run_dir in config.run_dirs] or [run_folder.newest()]
    if len({run_dir.resolve() for run_dir in run_dirs}) < len(run_dirs):
        raise UsageError("a run is given twice")
    runs = [History(run_dir) for run_dir in run_dirs]
    with blas_threads(config.threads), resolution(config.dpi):
        if len(runs) > 1:
            path = Path(config.to or run_dirs[0]) / f"loss-compared.{config.format}"
            make_folder(path.parent)
            draw_several(runs, path)
            print(path, flush=True)
        for run, name in zip(runs, labels(run_dirs), strict=True):
            folder = run.run_dir if config.to is None else Path(config.to) / name if len(runs) > 1 else Path(config.to)
            for path in draw_run(run, folder, config):
                print(path, flush=True)
    return 0
