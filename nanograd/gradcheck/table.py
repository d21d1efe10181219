"""The table behind `python -m nanograd.gradcheck`: every layer, and the rows that `python -m gpt.gradcheck` adds to it.

Each line is checked against the forward pass, for the symmetry of its Hessian, and against PyTorch where that is
installed. PyTorch's side of it stands with the tests (tests/support/pytorch/torch_reference.py), since nothing in the
packages imports PyTorch.
"""

import contextlib
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nanograd.device.device import Device
from nanograd.gradcheck.check import Report, check_layer
from nanograd.gradcheck.derivatives import COMPLEX_STEP, DIFFERENCES
from nanograd.gradcheck.symmetry import SYMMETRY_BOUND, check_symmetry
from nanograd.layers import (
    GELU,
    MLP,
    Attention,
    CausalSelfAttention,
    CrossEntropy,
    Dropout,
    Embedding,
    GatedMLP,
    Layer,
    LayerNorm,
    Linear,
    LMHead,
    PositionEmbedding,
    ReLU,
    ReLUSquared,
    ResidualLinear,
    RMSNorm,
    RoPE,
    SwiGLU,
)

TORCH_BOUND = 1e-10


@dataclass
class Row:
    """One line: what was checked, how, the worst error and where; the error of the Hessian's symmetry, and that against
    PyTorch (None: not compared)."""

    what: str
    method: str
    full: bool
    compared: int
    error: float
    bound: float
    worst: str
    symmetry: float | None
    torch: float | None
    problems: list[str]

    @property
    def ok(self) -> bool:
        errors = (self.error, self.bound), (self.symmetry, SYMMETRY_BOUND), (self.torch, TORCH_BOUND)
        return not self.problems and all(error is None or error <= bound for error, bound in errors)


def print_table(rows: Iterable[Row], as_json: bool, why_not: str | None, one_model: bool = False) -> int:
    """Print rows as they come, then what they amount to; the exit code: 1 if any is beyond its bound.

    `why_not` says why nothing was compared with PyTorch. With `one_model` all rows are of one model, and the first
    counts its derivatives.
    """
    started = time.perf_counter()
    done = []
    if not as_json:
        print(HEADER, flush=True)
    for row in rows:
        done.append(row)
        if not as_json:
            print(line_of(row), flush=True)
    ok = all(row.ok for row in done)
    seconds = time.perf_counter() - started
    if as_json:
        table = [asdict(row) | {"ok": row.ok} for row in done]
        print(json.dumps({"ok": ok, "seconds": round(seconds, 1), "torch": why_not or "compared", "rows": table}))
    else:
        wrong = sum(not row.ok for row in done)
        total = done[0].compared if one_model else sum(row.compared for row in done)
        compared = f"{total} derivatives compared in {seconds:.0f} s"
        print(f"{compared}; {f'{wrong} of {len(done)} WRONG' if wrong else 'all within their bounds'}")
        if why_not:
            print(f"not compared with PyTorch: {why_not}")
    return 0 if ok else 1


HEADER = f"{'':34}  {'method':12}  {'':8}  {'compared':>8}  {'error':>7}  {'bound':>6}  {'symmetry':>8}  {'PyTorch':>7}"
HEADER += "  worst at"


def line_of(row: Row) -> str:
    symmetry, torch = ("" if error is None else f"{error:.1e}" for error in (row.symmetry, row.torch))
    extent = "Jacobian" if row.full else "sampled"
    mark = "" if row.ok else "  WRONG"
    figures = f"{row.compared:8}  {row.error:7.1e}  {row.bound:6.0e}  {symmetry:>8}  {torch:>7}"
    return "\n  ".join([f"{row.what:34}  {row.method:12}  {extent:8}  {figures}  {row.worst}{mark}", *row.problems])


def torch_reference():
    """(PyTorch's side of the comparison as a module, None), or (None, why there is none)."""
    if importlib.util.find_spec("torch") is None:
        return None, "it is not installed (pip install torch)"
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "support" / "pytorch" / "torch_reference.py").is_file():
        return None, "its side of the comparison is in tests/ of the repository, which is not here"
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return importlib.import_module("tests.support.pytorch.torch_reference"), None


# Every layer

B, T, C, H, V = 2, 5, 6, 2, 7


def layer_cases(rng: np.random.Generator) -> Iterator[tuple[str, Layer, tuple]]:
    """(name, layer, inputs), ids repeated, sizes that are no multiples of each other."""
    device = Device("numpy", dtype="float64")
    x = rng.standard_normal((B, T, C))
    ids = rng.integers(0, 3, (B, T))
    yield "Linear", Linear(C, 4, device=device), (x,)
    yield "Linear, no bias", Linear(C, 4, False, device=device), (x,)
    for p in (0.0, 0.3):
        dropout = Dropout(p, device=device)
        yield f"ResidualLinear{', dropout' * (p > 0)}", ResidualLinear(C, 4, dropout=dropout, device=device), (x,)
    yield "ReLU", ReLU(), (x,)
    yield "ReLU squared", ReLUSquared(), (x,)
    yield "GELU", GELU(), (x,)
    yield "SwiGLU", SwiGLU(), (x, rng.standard_normal(x.shape))
    yield "LayerNorm", LayerNorm(C, device=device), (x,)
    yield "LayerNorm, no bias", LayerNorm(C, False, device=device), (x,)
    yield "RMSNorm", RMSNorm(C, device=device), (x,)
    yield "RMSNorm, no weight", RMSNorm(C, False, device=device), (x,)
    for layout in ("half", "interleaved"):
        yield f"RoPE, {layout}", RoPE(8, layout), (rng.standard_normal((B, T, 3, 8)),)
    yield "Dropout", Dropout(0.3, device=device), (x,)
    yield "Attention", Attention(H, Dropout(0.0, device=device)), (rng.standard_normal((B, T, 3 * C)),)
    shared = rng.standard_normal((B, T, 8 * 3))
    yield "Attention, shared heads", Attention(4, Dropout(0.0, device=device), n_kv_head=2), (shared,)
    yield "CausalSelfAttention", CausalSelfAttention(C, H, device=device, qkv_bias=True), (x,)
    yield "CausalSelfAttention, dropout", CausalSelfAttention(C, H, device=device, dropout=0.3), (x,)
    settings = {"n_kv_head": 2, "head_dim": 4, "rope": RoPE(4)}
    yield "CausalSelfAttention, Llama's", CausalSelfAttention(C, 4, device=device, **settings), (x,)
    settings["qk_norm"] = tuple(RMSNorm(4, device=device) for _ in range(2))
    yield "CausalSelfAttention, QK-norm", CausalSelfAttention(C, 4, device=device, **settings), (x,)
    yield "MLP, ReLU", MLP(C, device=device), (x,)
    yield "MLP, GELU", MLP(C, device=device, activation="gelu"), (x,)
    yield "MLP, ReLU squared", MLP(C, device=device, activation="relu2"), (x,)
    yield "GatedMLP", GatedMLP(C, 8, device=device), (x,)
    yield "GatedMLP, dropout", GatedMLP(C, 8, device=device, dropout=0.3), (x,)
    yield "MLP, dropout", MLP(C, device=device, dropout=0.3), (x,)
    yield "Embedding, repeated ids", Embedding(V, C, device=device), (ids,)
    yield "PositionEmbedding", PositionEmbedding(T + 1, C, device=device), (x,)
    yield "LMHead", LMHead(V, C, device=device), (x,)
    yield "CrossEntropy", CrossEntropy(), (3 * rng.standard_normal((B, T, V)), ids)


def layer_rows(seed: int, reference) -> Iterator[Row]:
    """Two rows for every layer: by the complex step, and by finite differences."""
    for name, layer, inputs in layer_cases(np.random.default_rng(seed)):
        yield from rows_of_layer(name, layer, inputs, seed, reference)


def rows_of_layer(name: str, layer: Layer, inputs: tuple, seed: int, reference) -> Iterator[Row]:
    for method in (COMPLEX_STEP, DIFFERENCES):
        report = check_layer(layer, *inputs, method=method, full=True, seed=seed)
        symmetry = torch = None
        if method == COMPLEX_STEP:
            symmetry = check_symmetry(layer, *inputs, seed=seed).error
            if reference and "dropout" not in name:
                torch = layer_against_torch(reference, layer, inputs, seed)
        yield row_of(name, report, symmetry, torch)


def row_of(what: str, report: Report, symmetry: float | None = None, torch: float | None = None) -> Row:
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
        symmetry,
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
        dx = dx if isinstance(dx, tuple) else () if dx is None else (dx,)
        ours |= {f"dx{number or ''}": np.array(gradient) for number, gradient in enumerate(dx)}
        ours |= {n: p.grad.copy() for n, p in layer.named_parameters()}
        theirs = reference.layer_gradients(name, layer, inputs, dy)
    return largest_error(ours, theirs)


def largest_error(ours: dict, theirs: dict) -> float:
    if ours.keys() != theirs.keys():
        return float("inf")
    overall = max(np.abs(value).max() for value in theirs.values())
    scales = {name: max(np.abs(value).max(), 1e-3 * overall) or 1.0 for name, value in theirs.items()}
    return max(float(np.abs(ours[name] - theirs[name]).max() / scales[name]) for name in ours)
