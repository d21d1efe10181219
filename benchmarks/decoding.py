"""Decoding beside Hugging Face's `generate`, and beside the vector-matrix products alone.

    python -m benchmarks.decoding [--rounds 5] [--shapes gpt2 smollm2] [--hugging_face PYTHON] [--contenders ours hf]

Random weights at the shapes of GPT-2 124M and SmolLM2-135M, float32, one stream ("ours") and 16 ("streams"), within the
context: a prompt of 64 tokens, then 64 more, the likeliest each time. The time of a token is that of the second part.
"products" is NumPy's product of one row with each matrix, as the model stores it, and nothing else; GB/s is what it
reads of the weights. "hf" is Hugging Face's: PYTHON is one that has torch and transformers, which need not be installed
beside this project. "prompt" is one of 512 tokens, beside a training forward pass of one window of 512.

Contenders take turns in rounds, each in a process of its own, until the spread of each is small or three times as many
rounds are done; figures are medians, with the 10th and 90th percentile, and ratios are those of one round, their
median. Memory is the peak of the process while it decodes, Python and NumPy included, over the bytes of the weights.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.contenders.hugging_face import peak, reset_peak
from benchmarks.contenders.shapes import GPT2, SMOLLM2
from benchmarks.contenders.spread import busy, conditions, until_steady
from benchmarks.machine import at_least_1, describe_machine
from gpt.cli import command_line as cli
from gpt.errors import RunError

SHAPES = {"gpt2": GPT2, "smollm2": SMOLLM2}
HUGGING_FACE = Path(__file__).parent / "contenders" / "hugging_face.py"
OURS, PRODUCTS, THEIRS, STREAMED, PROMPTS = CONTENDERS = "ours", "products", "hf", "streams", "prompt"
PROMPT, TOKENS, STREAMS, LONG = 64, 64, 16, 512
RATIOS = {  # of seconds a token
    "time of a token over that of the products": (OURS, PRODUCTS),
    "tokens/s of 16 streams over one": (OURS, STREAMED),
    "tokens/s over Hugging Face's": (THEIRS, OURS),
}


def our_model(config):
    from gpt.model import GPT
    from nanograd import Device

    return GPT(config, Device("numpy")).eval()


def ours(config, streams: int):
    """A function that runs once and returns its figures, and the bytes of the weights."""
    from gpt.sampling.generate import generate_batch

    model = our_model(config)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (streams, PROMPT)).tolist()

    def run() -> dict:
        steps = iter(generate_batch(model, ids, TOKENS + 1, temperature=0))
        next(steps)  # the prompt
        start = time.perf_counter()
        for _ in steps:
            pass
        return {"seconds": (time.perf_counter() - start) / (TOKENS * streams)}

    return run, sum(parameter.value.nbytes for parameter in model.parameters())


def products(config):
    """The same for the products alone."""
    model = our_model(config)
    matrices = [p.value for block in model.h for p in block.parameters() if p.value.ndim == 2]
    matrices.append(model.lm_head.weight.value.T)
    rows = {len(matrix): np.ones((1, len(matrix)), dtype=np.float32) for matrix in matrices}

    def run() -> dict:
        start = time.perf_counter()
        for _ in range(TOKENS):
            for matrix in matrices:
                rows[len(matrix)].dot(matrix)
        return {"seconds": (time.perf_counter() - start) / TOKENS}

    return run, sum(matrix.nbytes for matrix in matrices)


def prompts(config):
    """The same for a prompt of LONG tokens, and for a training forward pass of as many."""
    from gpt.sampling.kv_cache import Decoder

    model = our_model(config)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (1, LONG))

    def run() -> dict:
        start = time.perf_counter()
        Decoder(model).prefill(ids)
        middle = time.perf_counter()
        model.train()(ids, ids, keep_logits=False)
        stop = time.perf_counter()
        model.eval()
        return {"seconds": (middle - start) / LONG, "forward": (stop - middle) / LONG}

    return run, sum(parameter.value.nbytes for parameter in model.parameters())


def work(name: str, shape: str) -> None:
    """A contender's process: for each line on stdin, one run; its result as JSON on stdout."""
    make = {PRODUCTS: products, PROMPTS: prompts}.get(name)
    config = SHAPES[shape]
    run, size = make(config) if make else ours(config, STREAMS if name == STREAMED else 1)
    run()
    reset_peak()
    for _ in sys.stdin:
        result = run()
        print(json.dumps(result | {"memory": peak() / size, "GB_per_s": size / result["seconds"] / 1e9}), flush=True)


def command_of(name: str, shape: str, python: str) -> list[str]:
    """The command line of a contender's process."""
    if name != THEIRS:
        return [sys.executable, "-m", "benchmarks.decoding", "--work", name, "--shapes", shape]
    config = SHAPES[shape]
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_inner,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.block_size,
    }
    settings = {"kind": shape, "shape": sizes, "prompt": PROMPT, "tokens": TOKENS}
    return [python, str(HUGGING_FACE), json.dumps(settings)]


def measure(shape: str, rounds: int, names: list[str], python: str | None) -> dict:
    """{"results": {contender: what each round gave}}, contenders in turn in each round; the rest as in train_speed."""
    before, pipes = busy(), {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = {name: subprocess.Popen(command_of(name, shape, python), **pipes) for name in names}
    results = {name: [] for name in names}

    def take_turns() -> None:
        for name, process in processes.items():
            print("run", file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                raise RunError(f"the process for {name} ended early")
            results[name].append(json.loads(line))

    def seconds() -> dict[str, list[float]]:
        return {name: [run["seconds"] for run in runs] for name, runs in results.items()}

    try:
        take_turns()  # the others are still being made
        for runs in results.values():
            runs.clear()
        unsteady = until_steady(take_turns, seconds, rounds)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return {"results": results, "unsteady": unsteady, "busy": [before, busy()]}


def summary(results: dict[str, list[dict]]) -> dict:
    """{contender: {"tokens_per_s": (10 %, median, 90 %), "memory": the most}} and, under "ratios", those of a round."""
    table = {
        name: {
            "tokens_per_s": np.percentile([1 / run["seconds"] for run in runs], (10, 50, 90)).tolist(),
            "memory": max(run["memory"] for run in runs),
        }
        for name, runs in results.items()
    }
    of = {name: np.array([run["seconds"] for run in runs]) for name, runs in results.items()}
    ratios = {}
    for label, (numerator, denominator) in RATIOS.items():
        if numerator in of and denominator in of:
            ratios[label] = of[numerator] / of[denominator]
    if PROMPTS in of:
        forward = [run["forward"] for run in results[PROMPTS]]
        ratios[f"prompt of {LONG} tokens over a training forward pass"] = of[PROMPTS] / forward
    if PRODUCTS in of:
        ratios["GB/s of the products"] = np.array([run["GB_per_s"] for run in results[PRODUCTS]])
    return table | {"ratios": {name: np.percentile(values, (10, 50, 90)).tolist() for name, values in ratios.items()}}


def show(shape: str, figures: dict) -> None:
    """The tables of one shape."""
    print(f"\n| {shape} | tokens/s | 10 % to 90 % | memory over weights |\n|---|---|---|---|")
    for name, row in figures.items():
        if name != "ratios":
            low, middle, high = row["tokens_per_s"]
            print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {row['memory']:.2f} |")
    for name, (low, middle, high) in figures["ratios"].items():
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | |")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoding", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=at_least_1, default=5)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--hugging_face", metavar="PYTHON", help="a Python that has torch and transformers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.work:
        return work(arguments.work, arguments.shapes[0])
    names = list(arguments.contenders)
    if THEIRS in names and not arguments.hugging_face:
        names.remove(THEIRS)
        print("Hugging Face is left out: --hugging_face PYTHON brings it", file=sys.stderr)
    machine = describe_machine()
    measured = {shape: measure(shape, arguments.rounds, names, arguments.hugging_face) for shape in arguments.shapes}
    for found in measured.values():
        found["results"] = summary(found["results"])
    if arguments.json:
        print(json.dumps({"machine": machine, "shapes": measured}, indent=1))
        return None
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for shape, found in measured.items():
        show(shape, found["results"])
        print(f"\n{conditions(found['unsteady'], *found['busy'])}")
    return None


if __name__ == "__main__":
    cli.run(main)
