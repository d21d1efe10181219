"""`python -m gpt.gradcheck`: every layer, whole GPTs, with `--config` or `--facts` the model of a run.

The check itself, and the rows of layers, are in nanograd/gradcheck/.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gpt.cli.command_line import parse, run
from gpt.config.flags import Checked, flag
from gpt.config.options import GPTConfig, TrainConfig
from gpt.config.toml import read_run_config
from gpt.errors import UsageError
from gpt.facts import facts_of_run, print_facts
from gpt.model import GPT, Block
from nanograd import Device
from nanograd.device.rng import RNG
from nanograd.gradcheck.check import Report, check_model
from nanograd.gradcheck.derivatives import DIFFERENCES
from nanograd.gradcheck.symmetry import check_symmetry
from nanograd.gradcheck.table import (
    Row,
    largest_error,
    layer_rows,
    print_table,
    row_of,
    rows_of_layer,
    spread_out,
    torch_reference,
)

LARGE = 1_000_000  # parameters: a larger model is sampled more thinly
V = 7  # tokens of the small models

EXAMPLES = """\
examples:
  python -m gpt.gradcheck                                 every layer and whole GPTs
  python -m gpt.gradcheck --config out/tales/config.toml  the model of a run, as trained
  python -m gpt.gradcheck --facts out/tales               what every gradient obeys, on a run's weights and text
  python -m gpt.gradcheck --json                          for a program to read
"""


@dataclass(frozen=True, kw_only=True)
class GradcheckConfig(Checked):
    config: str | None = flag(
        None,
        "config.toml of a run: check its model",
        metavar="FILE",
        default_text="every layer and whole GPTs",
        path=True,
    )
    facts: str | None = flag(
        None, "folder of a run: check what every gradient obeys, on its weights and text", metavar="RUN_DIR", path=True
    )
    backend: Literal["auto", "numpy", "cupy"] = flag("numpy", "where to compute the passes that --facts looks at")
    dtype: Literal["float32", "float64", "tf32", "bfloat16"] = flag("float32", "of those passes; the last two on cupy")
    json: bool = flag(False, "print one JSON object")
    seed: int = flag(0, "decides inputs, directions and the elements that are sampled", at_least=0)
    debug: bool = flag(False, "show the trace of an error")


def command(arguments: Sequence[str]) -> int:
    """Carry out one call; its exit code. Raises what `gpt.cli.command_line.run` turns into one line."""
    options = parse(GradcheckConfig, arguments, "python -m gpt.gradcheck", EXAMPLES)
    if options.facts:
        if options.config:
            raise UsageError("--facts and --config: one of the two")
        return print_facts(
            *facts_of_run(Path(options.facts), options.backend, options.dtype, options.seed), options.json
        )
    model = run_model(Path(options.config)) if options.config else None
    reference, why_not = torch_reference()
    rows = run_rows(*model, options.seed, reference) if model else all_rows(options.seed, reference)
    return print_table(rows, options.json, why_not, one_model=model is not None)


# Every layer, and whole GPTs

LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "bias": False, "n_embd": 8}
LLAMA_3 = {"rope_theta": 5e5, "rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_context": 8}

GPTS = {
    "GPT: the article's": {},
    "GPT: GPT-2's (tied, GELU)": {"tie_weights": True, "activation": "gelu", "qkv_bias": True},
    "GPT: tied, ReLU": {"tie_weights": True},
    "GPT: untied, GELU": {"activation": "gelu"},
    "GPT: no bias": {"bias": False},
    "GPT: Llama's": LLAMA,
    "GPT: Llama 3's": LLAMA | LLAMA_3 | {"n_head": 4, "n_kv_head": 2, "n_embd": 32},
    "GPT: Qwen2's (qkv bias)": LLAMA | {"qkv_bias": True, "norm_eps": 1e-6},
    "GPT: Qwen3's (QK-norm, head_dim)": LLAMA | {"qk_norm": "rms_weight", "head_dim": 6, "tie_weights": True},
    "GPT: ReLU squared, QK-norm": LLAMA | {"activation": "relu2", "qk_norm": "rms", "n_kv_head": None},
    "GPT: Llama's, threads, dropout": LLAMA | {"dropout": 0.2, "threads": 2, "batch": 3},
    "GPT: dropout": {"dropout": 0.2},
    "GPT: T = 1": {"length": 1},
    "GPT: B = 1": {"batch": 1},
    "GPT: repeated ids, tied": {"distinct": 2, "tie_weights": True},
    "GPT: one token alone": {"distinct": 1},
    "GPT: two threads, dropout": {"dropout": 0.2, "threads": 2, "batch": 3},
}


def gpt_case(settings: dict, rng: np.random.Generator):
    """(model, idx, targets, threads)"""
    settings = {"vocab_size": V, "block_size": 5, "n_layer": 2, "n_head": 2, "n_embd": 6} | settings
    batch, length, distinct = settings.pop("batch", 2), settings.pop("length", 5), settings.pop("distinct", V)
    threads = settings.pop("threads", 1)
    model = GPT(GPTConfig(**settings), Device("numpy", dtype="float64"))
    return model, rng.integers(0, distinct, (batch, length)), rng.integers(0, distinct, (batch, length)), threads


def all_rows(seed: int, reference) -> Iterator[Row]:
    yield from layer_rows(seed, reference)
    yield from block_rows(seed, reference)
    yield from gpt_rows(seed, reference)


def block_rows(seed: int, reference) -> Iterator[Row]:
    shape = {"vocab_size": V, "block_size": 5, "n_layer": 1, "n_head": 2, "n_embd": 6}
    gpt2 = {"activation": "gelu", "qkv_bias": True}
    llama = LLAMA | {"n_embd": 6, "head_dim": 4, "n_inner": 9}
    for name, settings in (("Block", gpt2), ("Block, Llama's", llama)):
        block = Block(GPTConfig(**(shape | settings)), Device("numpy", dtype="float64"), RNG(0), 0)
        inputs = (np.random.default_rng(seed).standard_normal((2, 5, 6)),)
        yield from rows_of_layer(name, block, inputs, seed, reference)


def gpt_rows(seed: int, reference) -> Iterator[Row]:
    for name, settings in GPTS.items():
        rng = np.random.default_rng(seed)
        model, idx, targets, threads = gpt_case(settings, rng)
        report = check_model(model, idx, targets, threads=threads, seed=seed)
        torch = None
        if reference and not model.config.dropout:
            torch = model_against_torch(reference, model, idx, targets, spread=0.3, seed=seed)
        symmetry = check_symmetry(model, idx, targets, spread=0.3, seed=seed).error
        yield row_of(name, report, symmetry, torch)
        if name == "GPT: the article's":
            yield row_of(name, check_model(model, idx, targets, method=DIFFERENCES, seed=seed))


def model_against_torch(reference, model: GPT, idx, targets, spread: float, seed: int) -> float:
    """The largest error of loss, logits and every parameter's gradient."""
    with spread_out(model, spread, seed):
        logits, loss = model(idx, targets)
        ours = {"loss": np.array(loss), "logits": logits.copy()}
        model.backward()
        ours |= {name: p.grad.copy() for name, p in model.named_parameters()}
        theirs = reference.model_gradients(model, idx, targets)
    return largest_error(ours, theirs)


# The model of a run


def run_rows(model: GPT, what: str, seed: int, reference) -> Iterator[Row]:
    """At the weights that the model has, with dropout as in training: all parameters, and the nine worst."""
    rng = np.random.default_rng(seed)
    small = model.n_parameters() <= LARGE
    shape = 2, min(model.config.block_size, 32 if small else 16)
    distinct = max(1, min(model.config.vocab_size, shape[1]))  # so that ids repeat
    idx, targets = (rng.choice(model.config.vocab_size, distinct)[rng.integers(0, distinct, shape)] for _ in range(2))
    samples = 8 if small else 2
    report = check_model(model, idx, targets, spread=0, samples=samples, full=False, seed=seed)
    torch = None
    if reference:
        with contextlib.ExitStack() as stack:
            if model.config.dropout:
                stack.callback(model.train)
                model.eval()
            torch = model_against_torch(reference, model, idx, targets, spread=0, seed=seed)
    yield row_of(f"{what}: all parameters", report, torch=torch)
    for entry in sorted(report.entries, key=lambda entry: entry.error, reverse=True)[:9]:
        one = Report(entry.name, report.method, report.full, report.tolerance, [entry])
        yield row_of(f"  {entry.name}", one)


def run_model(path: Path) -> tuple[GPT, str]:
    """(the model that a config.toml stands for, in float64 and training mode, what to call it)."""
    if not path.is_file():
        raise UsageError(f"--config {path}: there is no such file")
    if (path.parent / "checkpoints").is_dir():
        from gpt.runs.load import load_model

        model, _, checkpoint = load_model(path.parent, "latest", Device("numpy", dtype="float64"))
        return model.train(), f"{path.parent.name}, step {checkpoint.step}"
    config = read_run_config(TrainConfig, path)
    if config.vocab_size is None:
        raise UsageError(
            f"--config {path}: no checkpoint beside it and no vocab_size in it, so the model's size is not known"
        )
    device = Device("numpy", dtype="float64", seed=config.seed)
    return GPT(config.model_config(config.vocab_size), device), f"{path.name}, not trained"


if __name__ == "__main__":
    run(command)
