"""The page of runs in headless Chromium, against NumPy: what it computes, how fast, how large.

    python -m benchmarks.page out/tales out/alice out/llama

For each run, with weights in float32 (--full) and float16: the page is written into its folder by the command, opened
from the disk and asked over its console. Errors are relative to the largest value: of the logits over the whole
context, of each parameter's gradient. The model of NumPy is the run's own in float32. Needs Chromium and chromedriver.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gpt.runs.load import load_model, own_data
from gpt.sampling.generate import generate
from tests.support.browser import Browser, missing

ROOT = Path(__file__).parent.parent
TEXTS = 1000
GREEDY = 100
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


def measure(run_dir: Path, dtype: str, folder: Path) -> dict[str, str]:
    """The rows of one page."""
    model, tokenizer, checkpoint = load_model(run_dir, "best", "numpy")
    data = own_data(run_dir, tokenizer, checkpoint)
    began = time.perf_counter()
    command = [sys.executable, "-m", "gpt.page", str(run_dir.resolve()), *(["--full"] if dtype == "float32" else [])]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    rows = {"python -m gpt.page": f"{time.perf_counter() - began:.2f} s"}
    path = run_dir / "page.html"
    rows["size over the weights in base64"] = f"{(path.stat().st_size - base64_bytes(model, dtype)) / 1e3:.0f} KB"
    T = model.config.block_size
    ids = [int(i) for i in data.val[: T + 1]]
    browser = Browser(folder / "profile")
    try:
        browser.open(path)
        rows["first paint"] = f"{first_paint(browser):.0f} ms"
        rows["logits"] = f"{logits_error(browser, model, ids[:-1]):.1e}"
        rows["gradients"] = f"{gradients_error(browser, model, ids):.1e}"
        wanted = list(generate(model, ids[:8], GREEDY, temperature=0))
        found = browser.run("return nanograd.generate(arguments[0], arguments[1])", ids[:8], {"temperature": 0})
        same = next((i for i, pair in enumerate(zip(found, wanted, strict=True)) if len(set(pair)) > 1), GREEDY)
        rows[f"greedy tokens that agree, of {GREEDY}"] = str(same)
        texts = random_texts(random.Random(0), tokenizer, tokenizer.decode(data.val[:5000]))
        found = browser.run("return arguments[0].map(text => nanograd.encode(text))", texts)
        rows[f"texts with the same ids, of {TEXTS}"] = str(
            sum(a == tokenizer.encode(b) for a, b in zip(found, texts, strict=True))
        )
        for count in (50, 100, 200):
            speed, gap = written(browser, count)
            rows[f"{count} tokens with the button, tokens/s"] = f"{speed:.0f}"
        rows["longest pause of the page meanwhile"] = f"{gap:.0f} ms"
        problems = browser.problems()
        rows["lines on the console, requests"] = str(len(problems))
    finally:
        browser.close()
    return rows


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR")
    runs = parser.parse_args().runs
    if problem := missing():
        raise SystemExit(problem)
    for run_dir in runs:
        columns = {}
        for dtype in ("float32", "float16"):
            with tempfile.TemporaryDirectory() as folder:
                columns[dtype] = measure(run_dir, dtype, Path(folder))
        print(f"| {run_dir.name} | {' | '.join(columns)} |\n|---|---|---|")
        for row in columns["float32"]:
            print(f"| {row} | {columns['float32'][row]} | {columns['float16'][row]} |")
        print(flush=True)


if __name__ == "__main__":
    main()
