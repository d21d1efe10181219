"""The page of runs in headless Chromium, against NumPy: what it computes, how fast, how large.

    python -m benchmarks.page out/tales out/alice out/llama

For each run, with weights in float32 (--full) and float16: the page is written into its folder by the command, opened
from the disk and asked over its console. Errors are relative to the largest value: of the logits over the whole
context, of each parameter's gradient. The model of NumPy is the run's own in float32. Times and speeds are measured in
rounds until the spread of each is small or three times as many rounds are done: medians, with the 10th and the 90th
percentile. Needs Chromium and chromedriver.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.contenders.spread import Spread, busy, conditions, until_steady
from benchmarks.machine import at_least_1
from gpt.cli import command_line as cli
from gpt.errors import RunError
from gpt.runs.load import load_model, own_data
from gpt.sampling.generate import generate
from tests.support.browser import Browser, missing

ROOT = Path(__file__).parent.parent
TEXTS = 1000
GREEDY = 100
COUNTS = 50, 100, 200
COMMAND, PAINT = "python -m gpt.page, s", "first paint, ms"
SPEEDS = {f"{count} tokens with the button, tokens/s": count for count in COUNTS}
WRITE = 'document.getElementById("count").value = arguments[0]; document.getElementById("again").click();'
WATCH = """
const done = arguments[arguments.length - 1], began = performance.now(), gaps = [];
let last = began;
const tick = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    writing() ? setTimeout(tick) : end();
};
const writing = () => !document.getElementById("speed").textContent.startsWith(COUNT + " ");
const end = () => done([COUNT / (performance.now() - began) * 1000, Math.max(...gaps)]);
document.getElementById("go").click();
setTimeout(tick);
"""


def random_texts(rng: random.Random, tokenizer, text: str) -> list[str]:
    """Texts of any Unicode for a tokenizer that takes any, else of the characters it knows."""
    alphabet = tokenizer.characters if tokenizer.kind == "char" else None
    texts = []
    for i in range(TEXTS):
        n = rng.randint(0, 60)
        if alphabet:
            texts.append("".join(rng.choices(alphabet, k=n)))
        elif i % 2 and text:
            start = rng.randrange(len(text))
            texts.append(text[start : start + n])
        else:
            codes = (rng.randrange(0x110000) for _ in range(n))
            texts.append("".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000))
    return texts


def measure(run_dir: Path, dtype: str, folder: Path, rounds: int) -> tuple[dict[str, str], list[str]]:
    """The rows of one page, and which of its times are not steady."""
    model, tokenizer, checkpoint = load_model(run_dir, "best", "numpy")
    command = [sys.executable, "-m", "gpt.page", str(run_dir.resolve()), *(["--full"] if dtype == "float32" else [])]
    path, rows, gaps = run_dir / "page.html", {}, []
    timings = {name: [] for name in (COMMAND, PAINT, *SPEEDS)}

    def take_turns() -> None:
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        timings[COMMAND].append(time.perf_counter() - began)
        browser.open(path)
        timings[PAINT].append(first_paint(browser))
        for name, count in SPEEDS.items():
            speed, gap = written(browser, count)
            timings[name].append(speed)
            gaps.append(gap)

    browser = Browser(folder / "profile")
    try:
        unsteady = until_steady(take_turns, lambda: timings, rounds)
        rows |= {name: str(Spread.of(found)) for name, found in timings.items()}
        rows["longest pause of the page meanwhile"] = f"{max(gaps):.0f} ms"
        rows |= agreement(browser, model, tokenizer, own_data(run_dir, tokenizer, checkpoint))
        rows["lines on the console, requests"] = str(len(browser.problems()))
    finally:
        browser.close()
    rows["size over the weights in base64"] = f"{(path.stat().st_size - base64_bytes(model, dtype)) / 1e3:.0f} KB"
    return rows, unsteady


def agreement(browser: Browser, model, tokenizer, data) -> dict[str, str]:
    """What the page computes, beside NumPy."""
    T = model.config.block_size
    ids = [int(i) for i in data.val[: T + 1]]
    rows = {"logits": f"{logits_error(browser, model, ids[:-1]):.1e}"}
    rows["gradients"] = f"{gradients_error(browser, model, ids):.1e}"
    wanted = list(generate(model, ids[:8], GREEDY, temperature=0))
    found = browser.run("return nanograd.generate(arguments[0], arguments[1])", ids[:8], {"temperature": 0})
    same = next((i for i, pair in enumerate(zip(found, wanted, strict=True)) if len(set(pair)) > 1), GREEDY)
    rows[f"greedy tokens that agree, of {GREEDY}"] = str(same)
    texts = random_texts(random.Random(0), tokenizer, tokenizer.decode(data.val[:5000]))
    found = browser.run("return arguments[0].map(text => nanograd.encode(text))", texts)
    agree = sum(a == tokenizer.encode(b) for a, b in zip(found, texts, strict=True))
    return rows | {f"texts with the same ids, of {TEXTS}": str(agree)}


def base64_bytes(model, dtype: str) -> int:
    return -(-model.n_parameters() * np.dtype(dtype).itemsize // 3) * 4


def first_paint(browser: Browser) -> float:
    return browser.run('return performance.getEntriesByName("first-contentful-paint")[0].startTime')


def logits_error(browser: Browser, model, ids: list[int]) -> float:
    wanted = model(np.array([ids]))[0][0]
    found = np.array(browser.run("return nanograd.logits(arguments[0]).map(row => [...row])", ids))
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def gradients_error(browser: Browser, model, ids: list[int]) -> float:
    """The worst of all parameters."""
    for parameter in model.parameters():
        parameter.grad[...] = 0
    model(np.array([ids[:-1]]), np.array([ids[1:]]))
    model.backward()
    browser.run("window.found = nanograd.gradients(arguments[0], arguments[1]).parameters", ids[:-1], ids[1:])
    worst = 0.0
    for name, parameter in model.named_parameters():
        found = np.array(browser.run("return [...window.found[arguments[0]]]", name)).reshape(parameter.shape)
        worst = max(worst, float(np.abs(found - parameter.grad).max() / np.abs(parameter.grad).max()))
    return worst


def written(browser: Browser, count: int) -> tuple[float, float]:
    """Tokens/s as the page writes and shows them, and the longest time in ms that it did not answer."""
    browser.run(WRITE, count)
    return tuple(browser.driver.execute_async_script(WATCH.replace("COUNT", str(count))))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--rounds", type=at_least_1, default=5)
    options = parser.parse_args(argv)
    if problem := missing():
        raise RunError(problem)
    for run_dir in options.runs:
        before, columns, unsteady = busy(), {}, []
        for dtype in ("float32", "float16"):
            with tempfile.TemporaryDirectory() as folder:
                columns[dtype], far_apart = measure(run_dir, dtype, Path(folder), options.rounds)
            unsteady += [f"{name} ({dtype})" for name in far_apart]
        print(table(run_dir.name, columns), conditions(unsteady, before, busy()), sep="\n\n", end="\n\n", flush=True)


def table(name: str, columns: dict[str, dict[str, str]]) -> str:
    lines = [f"| {name} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    rows = next(iter(columns.values()))
    return "\n".join([*lines, *(f"| {row} | {' | '.join(of[row] for of in columns.values())} |" for row in rows)])


if __name__ == "__main__":
    cli.run(main)
