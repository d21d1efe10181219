"""The table behind `python -m nanograd.gradcheck`: every layer, whole GPTs, or the model of a run.

It stands on this floor because it knows GPTs; the check itself is nanograd/gradcheck/. Each line is checked against
the forward pass, and against PyTorch where that is installed: PyTorch's side of it lives with the tests
(tests/support/torch_reference.py), since nothing in the packages imports PyTorch.
"""

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gpt.cli.command_line import parse
from gpt.config.flags import Checked, flag
from gpt.config.options import GPTConfig, TrainConfig
from gpt.config.toml import read_run_config
from gpt.errors import UsageError
from gpt.model import GPT, Block
from nanograd.device.device import Device
from nanograd.device.rng import RNG
from nanograd.gradcheck.check import Report, check_layer, check_model
from nanograd.gradcheck.derivatives import COMPLEX_STEP, DIFFERENCES
from nanograd.layers.activations import GELU, ReLU
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import Layer
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.residual import ResidualLinear

TORCH_BOUND = 1e-10
LARGE = 1_000_000  # parameters: a larger model is sampled more thinly

EXAMPLES = """\
examples:
  python -m nanograd.gradcheck                                 every layer and whole GPTs
  python -m nanograd.gradcheck --config out/tales/config.toml  the model of a run, as trained
  python -m nanograd.gradcheck --json                          for a program to read
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
    json: bool = flag(False, "print one JSON object")
    seed: int = flag(0, "decides inputs, directions and the elements that are sampled", at_least=0)
    debug: bool = flag(False, "show the trace of an error")


@dataclass
class Row:
    """One line: what was checked, how, the worst error and where, and the same against PyTorch (None: not compared)."""

    what: str
    method: str
    full: bool
    compared: int
    error: float
    bound: float
    worst: str
    torch: float | None
    problems: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems and self.error <= self.bound and (self.torch is None or self.torch <= TORCH_BOUND)


def command(arguments: Sequence[str]) -> int:
    """Carry out one call; its exit code. Raises what `gpt.cli.command_line.run` turns into one line."""
    options = parse(GradcheckConfig, arguments, "python -m nanograd.gradcheck", EXAMPLES)
    started = time.perf_counter()
    run = run_model(Path(options.config)) if options.config else None
    reference, why_not = torch_reference()
    rows = []
    if not options.json:
        print(HEADER, flush=True)
    for row in run_rows(*run, options.seed, reference) if run else house_rows(options.seed, reference):
        rows.append(row)
        if not options.json:
            print(line_of(row), flush=True)
    ok = all(row.ok for row in rows)
    seconds = time.perf_counter() - started
    if options.json:
        table = [asdict(row) | {"ok": row.ok} for row in rows]
        print(json.dumps({"ok": ok, "seconds": round(seconds, 1), "torch": why_not or "compared", "rows": table}))
    else:
        wrong = sum(not row.ok for row in rows)
        total = rows[0].compared if run else sum(row.compared for row in rows)
        compared = f"{total} derivatives compared in {seconds:.0f} s"
        print(f"{compared}; {f'{wrong} of {len(rows)} WRONG' if wrong else 'all within their bounds'}")
        if why_not:
            print(f"not compared with PyTorch: {why_not}")
    return 0 if ok else 1


HEADER = f"{'':34}  {'method':12}  {'':8}  {'compared':>8}  {'error':>7}  {'bound':>6}  {'PyTorch':>7}  worst at"


def line_of(row: Row) -> str:
    torch = "" if row.torch is None else f"{row.torch:.1e}"
    extent = "Jacobian" if row.full else "sampled"
    mark = "" if row.ok else "  WRONG"
    figures = f"{row.compared:8}  {row.error:7.1e}  {row.bound:6.0e}  {torch:>7}"
    return "\n  ".join([f"{row.what:34}  {row.method:12}  {extent:8}  {figures}  {row.worst}{mark}", *row.problems])


def torch_reference():
    """(PyTorch's side of the comparison as a module, None), or (None, why there is none)."""
    if importlib.util.find_spec("torch") is None:
        return None, "it is not installed (pip install torch)"
    path = Path(__file__).resolve().parent.parent / "tests" / "support" / "torch_reference.py"
    if not path.is_file():
        return None, "its side of the comparison is in tests/ of the repository, which is not here"
    spec = importlib.util.spec_from_file_location("torch_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, None


# Every layer, and whole GPTs

B, T, C, H, V = 2, 5, 6, 2, 7


def layer_cases(rng: np.random.Generator) -> Iterator[tuple[str, Layer, tuple]]:
    """(name, layer, inputs), ids repeated, sizes that are no multiples of each other."""
    device = Device("numpy", dtype="float64")
    x = rng.standard_normal((B, T, C))
    ids = rng.integers(0, 3, (B, T))
    shape = {"vocab_size": V, "block_size": T, "n_head": H, "n_embd": C, "activation": "gelu", "qkv_bias": True}
    yield "Linear", Linear(C, 4, device=device), (x,)
    yield "Linear, no bias", Linear(C, 4, False, device=device), (x,)
    for p in (0.0, 0.3):
        dropout = Dropout(p, device=device)
        yield f"ResidualLinear{', dropout' * (p > 0)}", ResidualLinear(C, 4, dropout=dropout, device=device), (x,)
    yield "ReLU", ReLU(), (x,)
    yield "GELU", GELU(), (x,)
    yield "LayerNorm", LayerNorm(C, device=device), (x,)
    yield "LayerNorm, no bias", LayerNorm(C, False, device=device), (x,)
    yield "Dropout", Dropout(0.3, device=device), (x,)
    yield "Attention", Attention(H, Dropout(0.0, device=device)), (rng.standard_normal((B, T, 3 * C)),)
    yield "CausalSelfAttention", CausalSelfAttention(C, H, device=device, qkv_bias=True), (x,)
    yield "CausalSelfAttention, dropout", CausalSelfAttention(C, H, device=device, dropout=0.3), (x,)
    yield "MLP, ReLU", MLP(C, device=device), (x,)
    yield "MLP, GELU", MLP(C, device=device, activation="gelu"), (x,)
    yield "MLP, dropout", MLP(C, device=device, dropout=0.3), (x,)
    yield "Embedding, repeated ids", Embedding(V, C, device=device), (ids,)
    yield "PositionEmbedding", PositionEmbedding(T + 1, C, device=device), (x,)
    yield "LMHead", LMHead(V, C, device=device), (x,)
    yield "CrossEntropy", CrossEntropy(), (3 * rng.standard_normal((B, T, V)), ids)
    yield "Block", Block(GPTConfig(**shape), device, RNG(0), 0), (x,)


GPTS = {
    "GPT: the article's": {},
    "GPT: GPT-2's (tied, GELU)": {"tie_weights": True, "activation": "gelu", "qkv_bias": True},
    "GPT: tied, ReLU": {"tie_weights": True},
    "GPT: untied, GELU": {"activation": "gelu"},
    "GPT: no bias": {"bias": False},
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


def house_rows(seed: int, reference) -> Iterator[Row]:
    for name, layer, inputs in layer_cases(np.random.default_rng(seed)):
        torch = None
        for method in (COMPLEX_STEP, DIFFERENCES):
            report = check_layer(layer, *inputs, method=method, full=True, seed=seed)
            if reference and method == COMPLEX_STEP and "dropout" not in name:
                torch = layer_against_torch(reference, layer, inputs, seed)
            yield row_of(name, report, torch)
            torch = None
    for name, settings in GPTS.items():
        rng = np.random.default_rng(seed)
        model, idx, targets, threads = gpt_case(settings, rng)
        report = check_model(model, idx, targets, threads=threads, seed=seed)
        torch = None
        if reference and not model.config.dropout:
            torch = model_against_torch(reference, model, idx, targets, spread=0.3, seed=seed)
        yield row_of(name, report, torch)
        if name == "GPT: the article's":
            yield row_of(name, check_model(model, idx, targets, method=DIFFERENCES, seed=seed), None)


def row_of(what: str, report: Report, torch: float | None) -> Row:
    worst = max(report.entries, key=lambda entry: entry.error)
    place = "" if worst.worst is None else f"[{', '.join(map(str, worst.worst))}]"
    return Row(
        what,
        report.method,
        report.full,
        report.compared,
        report.error,
        report.tolerance,
        worst.name + place,
        torch,
        list(report.broken),
    )


# Against PyTorch


@contextlib.contextmanager
def spread_out(layer: Layer, spread: float, seed: int):
    """Within it the parameters are moved away from where they are, their gradients blank."""
    before = layer.state_dict()
    rng = np.random.default_rng(seed)
    for parameter in layer.parameters():
        parameter.value += spread * rng.standard_normal(parameter.shape)
    layer.zero_grad()
    try:
        yield
    finally:
        layer.load_state_dict(before)
        layer.zero_grad()


def layer_against_torch(reference, layer: Layer, inputs: tuple, seed: int) -> float:
    """The largest error of output and gradients, each relative to its own largest number."""
    name = type(layer).__name__
    with spread_out(layer, 0.5, seed):
        if name == "Dropout":
            layer.rng.begin_step(0)
        ours = {"y": np.array(layer.forward(*inputs))}
        dy = np.random.default_rng(seed).standard_normal(ours["y"].shape)
        dx = layer.backward(dy)
        ours |= {n: p.grad.copy() for n, p in layer.named_parameters()} | ({} if dx is None else {"dx": dx})
        theirs = reference.layer_gradients(name, layer, inputs, dy)
    return largest_error(ours, theirs)


def model_against_torch(reference, model: GPT, idx, targets, spread: float, seed: int) -> float:
    """The largest error of loss, logits and every parameter's gradient."""
    with spread_out(model, spread, seed):
        logits, loss = model(idx, targets)
        ours = {"loss": np.array(loss), "logits": logits.copy()}
        model.backward()
        ours |= {name: p.grad.copy() for name, p in model.named_parameters()}
        theirs = reference.model_gradients(model, idx, targets)
    return largest_error(ours, theirs)


def largest_error(ours: dict, theirs: dict) -> float:
    if ours.keys() != theirs.keys():
        return float("inf")
    overall = max(np.abs(value).max() for value in theirs.values())
    scales = {name: max(np.abs(value).max(), 1e-3 * overall) or 1.0 for name, value in theirs.items()}
    return max(float(np.abs(ours[name] - theirs[name]).max() / scales[name]) for name in ours)


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
    yield row_of(f"{what}: all parameters", report, torch)
    for entry in sorted(report.entries, key=lambda entry: entry.error, reverse=True)[:9]:
        one = Report(entry.name, report.method, report.full, report.tolerance, [entry])
        yield row_of(f"  {entry.name}", one, None)


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
