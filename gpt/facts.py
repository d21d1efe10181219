"""`python -m gpt.gradcheck --facts RUN_DIR`: what every gradient obeys, on a run's own weights and text.

Nothing is compared with a reference, so it works at full size, in the run's precision, on the backend that trains it:
one forward and one backward pass over windows of the validation split, as nanograd/gradcheck/facts.py has it, one more
in which the second half of each window does not count, and single layers again: in another order (invariances.py), or
as they were (repeats.py). Then what uses the gradients and the weights, held against itself:

    evaluation       draws no random numbers; zero_grad leaves nothing
    parts            of a batch, each by a replica of the model, add up to the gradients of all of it
    clipping         brings the norm of all gradients down to the limit, and leaves a smaller one alone
    AdamW            for a gradient that stays the same both means are that gradient and its square in every step, so a
                     weight moves by lr g / (|g| + eps), and shrinks by lr times the decay, if it is in a matrix
    Muon             steps whose singular values lie between 0.65 and 1.25 times sqrt(max(1, out / in))
    a cache          token by token the logits are those of all of the text at once
    RoPE             of attention as a whole: what comes out does not depend on where the text begins
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gpt.data.batches import EVAL_VAL, draw_batch
from gpt.errors import UsageError
from gpt.model import GPT
from gpt.runs.load import find_text, load_model
from gpt.sampling.kv_cache import Decoder
from nanograd import AdamW, Device, Muon, clip_grad_norm
from nanograd.device.threads import ThreadPool
from nanograd.gradcheck.facts import TIED, Fact, Unit, facts_of, largest_ratio, recorded
from nanograd.gradcheck.invariances import causal_facts, distance_fact, on_device, order_facts
from nanograd.gradcheck.repeats import repeat_facts
from nanograd.layers.cross_entropy import IGNORED
from nanograd.layers.layer import to_host
from nanograd.parallel.data_parallel import DataParallel

POSITIONS = 2048  # of the batch, about
LARGE = 20_000_000  # parameters: of more, several copies in float64 are too much for the memory


def facts_of_run(run_dir: Path, backend: str, dtype: str, seed: int) -> tuple[str, Iterator[Fact]]:
    """(what is checked, its facts). Raises UsageError or RunError for what is no run, or one whose text is gone."""
    model, tokenizer, checkpoint = load_model(run_dir, "latest", Device(backend, dtype))
    data, reason = find_text(run_dir, tokenizer, checkpoint)
    if data is None:
        raise UsageError(reason)
    label = f"{run_dir}, step {checkpoint.step}; {model.device.describe()}"
    return label, facts_of_model(model, data.val, seed)


def facts_of_model(model: GPT, tokens: np.ndarray, seed: int) -> Iterator[Fact]:
    """The facts of `model` on windows of `tokens` (N,), without dropout. Its gradients are lost."""
    T = min(model.config.block_size, len(tokens) - 1)
    x, y = draw_batch(tokens, max(2, min(32, POSITIONS // T)), T, seed, EVAL_VAL, 0)
    model.eval()
    found = passes_of(model, x, y)
    names = set()
    for fact in facts_of(found, model.device.precision):
        names.add(fact.name)
        yield fact
    if model.config.tie_weights and TIED not in names:
        yield Fact(TIED, "wte and lm_head", np.inf, 1)
    rng = np.random.default_rng(seed)
    yield from order_facts(found, model.device, rng)
    yield from repeat_facts(found, model.device, rng)
    again = passes_of(model, x, y)
    drawn = float(np.abs(again["lm_head"].y - found["lm_head"].y).max(initial=0))
    yield Fact("evaluation draws no random numbers", "lm_head", largest_ratio(drawn, 0.0), found["lm_head"].y.size)
    if model.n_parameters() <= LARGE:
        yield from step_facts(model, x, y)
    yield from cache_facts(model, tokens, rng)
    rope = model.h[0].attn.rope  # all blocks' are the same
    if rope is not None:
        yield distance_fact(rope, model.device, rng, T, "h.0.attn.rope")
        yield from position_facts(model, rng, T)
    if T > 1:
        first_half = np.where(np.arange(T) < T // 2, y, IGNORED)
        yield from causal_facts(passes_of(model, x, first_half), T // 2)


def gradients_of(model: GPT) -> dict[str, np.ndarray]:
    """{name: gradient}, float64 copies on the host."""
    return {name: to_host(p.grad).astype(np.float64) for name, p in model.named_parameters()}


def values_of(model: GPT) -> dict[str, np.ndarray]:
    return {name: to_host(p.value).astype(np.float64) for name, p in model.named_parameters()}


def off(one: dict, other: dict, bound: float) -> float:
    """The largest difference between arrays by name, in units of `bound` times the largest number of that name."""
    sizes = {name: bound * max(np.abs(array).max(initial=0), 1e-30) for name, array in other.items()}
    return max(largest_ratio(one[name] - array, sizes[name]) for name, array in other.items())


def rounding(model: GPT, n: int) -> float:
    """How far a result of all layers may be off, relative to the largest, that adds up `n` numbers in each."""
    unit = Unit.of(model.device.precision)
    return 16 * model.config.n_layer * (unit.stored + unit.factors + np.sqrt(n) * unit.added)


def step_facts(model: GPT, x, y) -> Iterator[Fact]:
    """From gradients to new weights, which are put back."""
    before, state = gradients_of(model), model.state_dict()
    size = sum(array.size for array in before.values())
    model.zero_grad()
    left = max(np.abs(array).max() for array in gradients_of(model).values())
    yield Fact("zero_grad leaves nothing", "all parameters", largest_ratio(left, 0.0), size)
    parallel = DataParallel(model, ThreadPool(2 if model.device.name == "numpy" else 1), chunk=1 + len(x) // 4)
    for replica in (parallel, parallel):  # the second time into memory that has been used
        replica.zero_grad()
        replica.forward_backward(x, y, count=int((y != IGNORED).sum()))
        replica.reduce()
    ratio = off(gradients_of(model), before, rounding(model, x.size))
    yield Fact("parts of a batch add up to the whole", "all parameters", ratio, size)
    yield from _clipping(model, size)
    yield from _updates(model, state, size)
    model.load_state_dict(state)


def _clipping(model: GPT, size: int) -> Iterator[Fact]:
    before = gradients_of(model)
    norm = np.sqrt(sum(np.square(array).sum() for array in before.values()))
    bound = 16 * np.sqrt(size) * Unit.of(model.device.precision).added
    told = [float(clip_grad_norm(model, 2 * norm)), float(clip_grad_norm(model, norm / 2))]
    half = {name: array * norm / 2 / (norm + 1e-6) for name, array in before.items()}  # 1e-6 as in torch
    ratio = max(off(gradients_of(model), half, bound), largest_ratio(np.array(told) - norm, bound * norm))
    yield Fact("clipping halves a norm of twice the limit", "all parameters", ratio, size)


def _updates(model: GPT, state: dict, size: int) -> Iterator[Fact]:
    lr, decay, scale, grads = 1e-2, 0.1, 0.5, gradients_of(model)
    eps = float(np.mean([np.abs(array).mean() for array in grads.values()]))
    optimizer = AdamW(model, lr, betas=(0.8, 0.9), eps=eps, weight_decay=decay)
    own = matrices_of_muon(model)
    expected = values_of(model)
    for _ in range(3):
        optimizer.step(scale)
        for name, p in expected.items():
            g = scale * grads[name]
            p *= 1 - lr * decay * (p.ndim > 1)
            p -= lr * g / (np.abs(g) + eps)
    bound = 32 * Unit.of(model.device.precision).added
    yield Fact("AdamW moves by lr g / (|g| + eps)", "all parameters", off(values_of(model), expected, bound), size)
    model.load_state_dict(state)
    before = values_of(model)
    muon = Muon(model, lr, muon_lr=lr, momentum=0.5, weight_decay=decay)
    muon.step()
    worst = 0.0
    after = values_of(model)
    for name, widths in own.items():
        steps = (before[name] * (1 - lr * decay) - after[name]) / lr
        grad = np.split(grads[name], np.cumsum(widths)[:-1], axis=1)
        for step, g in zip(np.split(steps, np.cumsum(widths)[:-1], axis=1), grad, strict=True):
            largest = np.sqrt(max(1, step.shape[1] / step.shape[0]))
            kept = np.linalg.svd(g, compute_uv=False)
            rank = int((kept > 0.02 * np.sqrt(np.square(kept).sum())).sum())  # smaller ones are not lifted far enough
            values = np.linalg.svd(step, compute_uv=False) / largest
            worst = max(worst, values.max() / 1.25, 0.65 / values[:rank].min(initial=1.0))
    yield Fact("Muon moves equally far in all directions", "the blocks' matrices", float(worst), len(own))


def matrices_of_muon(model: GPT) -> dict[str, tuple[int, ...]]:
    """{name: widths of the matrices side by side} of the weights that Muon takes."""
    weights = {
        n: p for n, p in model.named_parameters() if n.startswith("h.") and n.endswith("weight") and p.value.ndim > 1
    }
    return {name: p.widths or (p.shape[1],) for name, p in weights.items()}


def cache_facts(model: GPT, tokens: np.ndarray, rng: np.random.Generator) -> Iterator[Fact]:
    """Two texts, one shorter, token by token past the end of the window where the window is read again."""
    T, steps = min(model.config.block_size, len(tokens) - 9), 6
    length = max(2, min(T - 3, 61))
    starts = rng.integers(0, len(tokens) - length - steps, 2)
    texts = [np.asarray(tokens[start : start + length + steps]) for start in starts]
    for exact in (True, False):
        decoder, worst, compared = Decoder(model, 2, exact_window=exact), 0.0, 0
        for n in range(length, length + steps):
            ends = n, n - length // 2
            if n == length:
                logits = decoder.prefill([text[:end] for text, end in zip(texts, ends, strict=True)])
            else:
                logits = decoder.decode(np.array([text[end - 1] for text, end in zip(texts, ends, strict=True)]))
            if decoder.sliding and n > T and model.config.n_layer > 1:
                break  # what lay before the window has a part in the cache, and none in a full forward pass
            for text, end, row in zip(texts, ends, to_host(logits).astype(np.float64), strict=True):
                window = text[max(0, end - T) : end]
                full = to_host(model(window[None])[0]).astype(np.float64)[0, -1]
                bound = rounding(model, model.config.n_embd) * np.abs(full).max()
                worst, compared = max(worst, largest_ratio(row - full, bound)), compared + full.size
        yield Fact("token by token as all at once", "exact window" if exact else "cache", worst, compared)


def position_facts(model: GPT, rng: np.random.Generator, T: int) -> Iterator[Fact]:
    """Attention of the first block, whose RoPE is all it knows of positions."""
    attention, device = model.h[0].attn, model.device
    x = on_device(device, rng.standard_normal((1, T, model.config.n_embd)).astype(np.float32))
    start = T // 2

    def heads(begin: int):
        qkv = attention.queries_keys_values(x, begin)
        kept = to_host(qkv).astype(np.float64)
        return kept, to_host(attention.heads(qkv)).astype(np.float64)

    qkv, y = heads(0)
    bound = rounding(model, model.config.n_embd) * np.abs(y).max() * max(1.0, np.abs(qkv).max())
    yield Fact("attention does not depend on the start", "h.0.attn", largest_ratio(heads(T)[1] - y, bound), y.size)
    part = to_host(attention.queries_keys_values(x[:, start:], start)).astype(np.float64)
    ratio = largest_ratio(part - qkv[:, start:], bound=rounding(model, model.config.n_embd) * np.abs(qkv).max())
    yield Fact("a text may begin in the middle", "h.0.attn", ratio, part.size)


def passes_of(model: GPT, x, y):
    model.zero_grad()
    with recorded(model) as found:
        model(x, y)
        model.backward()
    return found


def print_facts(label: str, facts: Iterator[Fact], as_json: bool) -> int:
    """A line for each fact: in how many layers, the largest error in units of its bound, and where. The exit code."""
    started = time.perf_counter()
    worst: dict[str, Fact] = {}
    layers: dict[str, int] = {}
    for fact in facts:
        layers[fact.name] = layers.get(fact.name, 0) + 1
        if fact.name not in worst or fact.ratio > worst[fact.name].ratio:
            worst[fact.name] = fact
    seconds, wrong = time.perf_counter() - started, sum(not fact.ok for fact in worst.values())
    if as_json:
        rows = [asdict(fact) | {"ok": fact.ok, "layers": layers[name]} for name, fact in worst.items()]
        print(json.dumps({"run": label, "ok": not wrong, "seconds": round(seconds, 1), "facts": rows}))
        return int(wrong > 0)
    print(f"{label}\n{'':44}{'layers':>6}  {'of its bound':>12}  worst at")
    for name, fact in worst.items():
        print(f"{name:44}{layers[name]:6}  {fact.ratio:12.4f}  {fact.where}{'' if fact.ok else '  WRONG'}")
    verdict = f"{wrong} of {len(worst)} facts are WRONG" if wrong else f"all {len(worst)} facts hold"
    print(f"{verdict}; {seconds:.1f} s")
    return int(wrong > 0)
