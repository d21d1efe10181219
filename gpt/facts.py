"""`python -m gpt.gradcheck --facts RUN_DIR`: what every gradient obeys, on a run's own weights and text.

Nothing is compared with a reference, so it works at full size, in the run's precision, on the backend that trains it:
one forward and one backward pass over windows of the validation split, as nanograd/gradcheck/facts.py has it, one more
in which the second half of each window does not count, and single layers again in another order.
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
from nanograd import Device
from nanograd.gradcheck.facts import Fact, facts_of, recorded
from nanograd.gradcheck.invariances import causal_facts, distance_fact, order_facts
from nanograd.layers.cross_entropy import IGNORED

POSITIONS = 2048  # of the batch, about


def facts_of_run(run_dir: Path, backend: str, dtype: str, seed: int) -> tuple[str, Iterator[Fact]]:
    """(what is checked, its facts). Raises UsageError or RunError for what is no run, or one whose text is gone."""
    model, tokenizer, checkpoint = load_model(run_dir, "latest", Device(backend, dtype))
    data, reason = find_text(run_dir, tokenizer, checkpoint)
    if data is None:
        raise UsageError(reason)
    label = f"{run_dir}, step {checkpoint.step}; {model.device.describe()}"
    return label, facts_of_model(model, data.val, seed)


def facts_of_model(model: GPT, tokens: np.ndarray, seed: int) -> Iterator[Fact]:
    """The facts of `model` on windows of `tokens` (N,), without dropout. Its gradients are those of that batch then."""
    T = min(model.config.block_size, len(tokens) - 1)
    x, y = draw_batch(tokens, max(2, min(32, POSITIONS // T)), T, seed, EVAL_VAL, 0)
    model.eval()
    found = passes_of(model, x, y)
    yield from facts_of(found, model.device.precision)
    rng = np.random.default_rng(seed)
    yield from order_facts(found, model.device, rng)
    rope = model.h[0].attn.rope  # all blocks' are the same
    if rope is not None:
        yield distance_fact(rope, model.device, rng, T, "h.0.attn.rope")
    if T > 1:
        first_half = np.where(np.arange(T) < T // 2, y, IGNORED)
        yield from causal_facts(passes_of(model, x, first_half), T // 2)


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
