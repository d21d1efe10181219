"""How well a run's model predicts a text: loss, perplexity and bits a byte over all of it.

    python -m gpt.evaluate out/tales                              its own validation split
    python -m gpt.evaluate out/tales --data book.txt --stride 16  a text of yours, each token with more context

The text is read in windows of the model's context, and every token but the first is predicted exactly once and
weighs the same. Windows laid end to end are quick, but give the first tokens of each little to go by. With
`--stride N` a window starts N tokens after the last one and only its newest N tokens count, so that each of them
has at least T - N tokens before it: slower by T / N, and nearer to what the model can do.

    tokens     0 1 2 3 4 5 6 7 8
    T = 4      . 1 2 3 4              context 4, stride 2: the tokens that count, window by window
                   . . . 5 6
                       . . . 7 8

Probabilities are computed from the model's logits in float64 and summed in float64.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gpt.cli import command_line as cli
from gpt.cli.output import say
from gpt.config.flags import Checked, flag
from gpt.config.options import ChoiceFlags, MachineFlags, RunDirFlags, WhichFlags
from gpt.data.batches import encode_corpus, get_batch
from gpt.data.corpus import open_corpus
from gpt.data.prepare import usable_cache
from gpt.data.stories import score, split_tales
from gpt.data.units import bits_per_byte, count_bytes, perplexity
from gpt.errors import RunError, UsageError
from gpt.files import shipped
from gpt.hub.load import open_model
from gpt.runs import folder as run_folder
from gpt.runs.load import find_text, own_data
from gpt.sampling.command import blas_threads
from gpt.sampling.generate import generate_batch
from nanograd.device.device import xp_of

STREAMS = 20  # samples that are made side by side
CONTEXT = 512  # tokens of a window, unless said otherwise, of a model that was trained with a longer context elsewhere
LOGITS_AT_ONCE = 1 << 24  # numbers: 64 MB of float32

EXAMPLES = """\
examples:
  python -m gpt.evaluate out/tales                   the run's own validation split
  python -m gpt.evaluate out/tales --data book.txt   another text
  python -m gpt.evaluate out/tales --stride 8        every token with more context
  python -m gpt.evaluate out/tales --stories         are its English tales told right?
"""


@dataclass(frozen=True, kw_only=True)
class TextFlags(Checked):
    data: tuple[str, ...] = flag(
        (),
        "text to predict: files, folders, globs or a known corpus; may be repeated",
        metavar="FILE",
        default_text="the run's validation split",
        path=True,
    )
    stride: int | None = flag(
        None, "tokens from one window to the next, at most the context", at_least=1, default_text="the context"
    )
    stories: int = flag(
        0,
        "instead, let it tell N tales (100 if no N) and read them by the rules of the English tales that come along",
        metavar="[N]",
        at_least=0,
        bare="100",
    )
    block_size: int | None = flag(
        None,
        "tokens of a window, at most the model's context",
        at_least=1,
        default_text=f"the context; of a model that is no run, at most {CONTEXT}",
    )
    json: bool = flag(False, "print one JSON object")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(MachineFlags, TextFlags, WhichFlags, RunDirFlags):
    """Loss, perplexity and bits a byte of a run's model over a whole text."""


@dataclass(frozen=True)
class Evaluation:
    """`loss` in nats a token over `tokens` predicted tokens, which stand for `bytes` bytes of text."""

    loss: float
    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int


def evaluate(
    model, tokenizer, tokens: np.ndarray, stride: int | None = None, block_size: int | None = None
) -> Evaluation:
    """Predict every one of `tokens` (N,) but the first, once. The model should be in evaluation mode.

    `block_size` is the length of a window, by default the model's context. Raises UsageError for one outside 1 to that,
    a stride outside 1 to the window, or fewer than two tokens; RunError if the loss is not finite.
    """
    context = model.config.block_size
    block_size = context if block_size is None else block_size
    if not 1 <= block_size <= context:
        raise UsageError(f"--block_size must be from 1 to the model's context of {context} tokens, not {block_size}")
    stride = block_size if stride is None else stride
    if not 1 <= stride <= block_size:
        raise UsageError(f"--stride must be from 1 to the model's context of {block_size} tokens, not {stride}")
    n_targets = len(tokens) - 1
    if n_targets < 1:
        raise UsageError("the text is one token long: there is nothing to predict")
    length = min(block_size, n_targets)
    batch_size = max(1, LOGITS_AT_ONCE // (length * model.config.vocab_size))
    total = math.fsum(
        loss
        for batch in batches(windows(n_targets, length, stride), batch_size)
        for loss in window_losses(model, tokens, batch, length)
    )
    loss = total / n_targets
    if not math.isfinite(loss):
        raise RunError("the model's loss is not finite: its weights are damaged, or its training diverged")
    n_bytes = count_bytes(tokens[1:], tokenizer)
    return Evaluation(loss, perplexity(loss), bits_per_byte(loss, n_bytes / n_targets), n_targets, n_bytes)


def windows(n_targets: int, length: int, stride: int) -> Iterator[tuple[int, int]]:
    """(start, first that counts) of windows of `length` that score each of `n_targets` positions once, in order.

    The last window is moved back to end with the text, so that it is full.

    >>> list(windows(8, 4, 2))
    [(0, 0), (2, 2), (4, 2)]
    """
    done = start = 0
    while done < n_targets:
        start = min(start, n_targets - length)
        yield start, done - start
        done = start + length
        start += stride


def batches(items: Iterator, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def window_losses(model, tokens, batch: Sequence[tuple[int, int]], length: int) -> list[float]:
    """The summed loss in nats of the positions that count, of each window of a batch."""
    x, y = get_batch(tokens, np.array([start for start, _ in batch]), length)
    logits, _ = model(x)
    y = model.device.asarray(y)
    xp = xp_of(logits)
    losses = []
    for row, targets, (_, first) in zip(logits, y, batch, strict=True):
        z = row[first:].astype(xp.float64)  # (positions, V)
        z -= z.max(-1, keepdims=True)
        chosen = z[xp.arange(len(z)), targets[first:]]
        losses.append((xp.log(xp.exp(z).sum(-1)) - chosen).sum())
    return [float(loss) for loss in losses]


def tell(model, tokenizer, n: int, seed: int = 0) -> list[list[str]]:
    """`n` tales, or as many as the model ends, sampled at sample.py's temperature and top_p; each as its lines."""
    known = split_tales((shipped("data") / "tales.txt").read_text(encoding="utf-8"))[:STREAMS]
    ids = [tokenizer.encode("\n".join(tale) + "\n\n") for tale in known]
    length = max(map(len, ids)) * -(-n // STREAMS)
    controls = {"temperature": ChoiceFlags.temperature, "top_p": ChoiceFlags.top_p}
    steps = generate_batch(model, tokenizer.encode("\n\n"), length, num_samples=STREAMS, seed=seed, **controls)
    samples = (tokenizer.decode([token.id for token in sample]) for sample in zip(*steps, strict=True))
    return [tale for sample in samples for tale in split_tales(sample)][:n]


def print_scores(config: EvaluateConfig, run_dir: Path, model, tokenizer, checkpoint) -> int:
    """What `--stories` does."""
    with blas_threads(config.threads):
        found = score(tell(model, tokenizer, config.stories))
    if config.json:
        print(json.dumps({"run": str(run_dir), "step": checkpoint.step if checkpoint else None} | asdict(found)))
    else:
        print(
            f"{found.tales} tales, told with seed 0, temperature {ChoiceFlags.temperature}, top_p {ChoiceFlags.top_p}\n"
            f"well formed  {found.well_formed:.1%} of the tales: their title and lines are all of one plot\n"
            f"agreement    {found.agreement:.1%} of what is mentioned again is the same as before\n"
            f"right        {found.right:.1%} of the tales: well formed, and all of it agrees"
        )
    return 0


def main(arguments: list[str]) -> int:
    config = cli.parse(EvaluateConfig, arguments, "python -m gpt.evaluate", EXAMPLES)
    run_dir = Path(config.run_dir) if config.run_dir is not None else run_folder.newest()
    model, tokenizer, name, checkpoint = open_model(run_dir, config.which, config.backend)
    if config.stories:
        say(f"{name}; {model.device.describe()}")
        return print_scores(config, run_dir, model, tokenizer, checkpoint)
    if config.data:
        corpus = open_corpus(config.data)
        label, tokens = corpus.label, encode_corpus(corpus, tokenizer, usable_cache(run_dir if checkpoint else None))
        if checkpoint and corpus.sha256 == checkpoint.state.get("corpus_sha256"):  # its own text, in another place
            label = f"validation split of {corpus.label}, which the run was trained on"
            tokens = own_data(run_dir, tokenizer, checkpoint, config.data).val
    elif checkpoint is None:
        raise UsageError(f"{run_dir} is no run and has no text of its own: name one with --data")
    else:
        data, reason = find_text(run_dir, tokenizer, checkpoint)
        if data is None:
            raise UsageError(reason)
        label, tokens = f"validation split of {data.corpus.label}", data.val
    context = config.block_size or (model.config.block_size if checkpoint else min(model.config.block_size, CONTEXT))
    say(f"{name}; {model.device.describe()}")
    with blas_threads(config.threads):
        found = evaluate(model, tokenizer, tokens, config.stride, context)
    if config.json:
        about = {"run": str(run_dir), "step": checkpoint.step if checkpoint else None, "data": label}
        values = asdict(found) | {"stride": config.stride or context}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        print(json.dumps(about | finite))
        return 0
    print(
        f"{label}: {found.tokens:,} tokens, {found.bytes:,} bytes\n"
        f"loss         {found.loss:.4f} nats a token\n"
        f"perplexity   {found.perplexity:.3f}\n"
        f"bits a byte  {found.bits_per_byte:.4f}"
    )
    return 0


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
