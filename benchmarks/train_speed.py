"""The time of a training step: this project, PyTorch in three forms, and the matrix products alone.

    python -m benchmarks.train_speed                      every shape, a table
    python -m benchmarks.train_speed --curves FILE.png    cost over context length and threads, as a picture
    python -m benchmarks.train_speed --shapes article baby --json

All contenders are set up first, then take turns in rounds, until the spread of each is small or three times as many
rounds are done. Figures are medians over all steps, with the 10th and the 90th percentile. A step is batch, forward,
backward, clipping and AdamW. The BLAS threads of a contender sleep while others work. How busy the machine is without
them is measured before and after.
"""

import argparse
import json
import sys

from benchmarks.contenders.contender import KINDS, Contender, shape_of
from benchmarks.contenders.shapes import SHAPES
from benchmarks.contenders.spread import Spread, busy, conditions, ratio, until_steady
from benchmarks.machine import at_least_1, describe_machine, need_torch, with_torch_or_without
from gpt.cli import command_line as cli
from nanograd.device.cores import available_cores

SECONDS_A_ROUND = 1.5  # of each contender
CONTEXTS = (256, 512, 1024, 2048)


def measure(shape: str, kinds: list[str], threads: int, rounds: int) -> dict:
    """{kind: {"ms", "low_ms", "high_ms", "peak_mb", "tokens_per_s", "steps"}} for one shape, contenders in turn; and
    "unsteady", the kinds whose timings lie far apart, with "busy", what else ran before and after."""
    contenders, before = [], busy()

    def take_turns() -> None:
        for contender in contenders:
            repetitions = 1 if not contender.ms else max(1, int(SECONDS_A_ROUND * 1e3 / contender.median()))
            contender.run(repetitions)
        print(f"{shape}: a round of {rounds} or more", file=sys.stderr, flush=True)

    try:
        for kind in kinds:
            print(f"{shape}: setting up {kind}", file=sys.stderr, flush=True)
            contenders.append(Contender(kind, shape, threads))
        unsteady = until_steady(take_turns, lambda: {c.kind: c.ms for c in contenders}, rounds)
    finally:
        for contender in contenders:
            contender.close()
    tokens = shape_of(shape).tokens()
    found = {}
    for c in contenders:
        spread = Spread.of(c.ms)
        found[c.kind] = {"ms": spread.median, "low_ms": spread.low, "high_ms": spread.high, "peak_mb": c.peak_mb}
        found[c.kind] |= {"tokens_per_s": tokens / spread.median * 1e3, "steps": len(c.ms)}
    return {"kinds": found, "unsteady": unsteady, "busy": [before, busy()]}


def spread_of(figures: dict) -> Spread:
    return Spread(figures["low_ms"], figures["ms"], figures["high_ms"])


def ratios(result: dict) -> dict[str, str]:
    """The ratios that matter, for as many kinds as were measured."""
    if "nanograd" not in result:
        return {}
    own = result["nanograd"]
    torch = [figures for kind, figures in result.items() if kind.startswith("torch")]
    found = {}
    if "matmuls" in result:
        found["ours / matmuls"] = ratio(spread_of(own), spread_of(result["matmuls"]))
    if "with muon" in result:
        found["with muon / ours"] = ratio(spread_of(result["with muon"]), spread_of(own))
    if torch:
        fastest = min(torch, key=lambda figures: figures["ms"])
        leanest = min(figures["peak_mb"] for figures in torch)
        found["fastest torch / ours"] = ratio(spread_of(fastest), spread_of(own))
        found["memory, ours / fastest torch"] = f"{own['peak_mb'] / fastest['peak_mb']:.2f}"
        found["memory, ours / leanest torch"] = f"{own['peak_mb'] / leanest:.2f}"
    return found


def table(name: str, result: dict) -> str:
    lines = [f"{name}: {shape_of(name).about}", ""]
    lines += ["| | ms a step (10th to 90th percentile) | tokens/s | peak memory, MB |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {spread_of(figures)} | {figures['tokens_per_s']:,.0f} | {figures['peak_mb']:.0f} |"
        for kind, figures in result["kinds"].items()
    ]
    lines += ["", "; ".join(f"{what} {value}" for what, value in ratios(result["kinds"]).items())]
    lines += [conditions(result["unsteady"], *result["busy"]), ""]
    return "\n".join(lines)


def draw_curves(path: str, rounds: int) -> dict:
    """Cost over context length and over threads, measured and drawn: medians, and a band from the 10th to the 90th
    percentile. Returns the figures."""
    from matplotlib.figure import Figure

    kinds = with_torch_or_without(["nanograd", "matmuls", "torch eager", "torch sdpa"])
    cores = available_cores()
    by_context = {T: measure(f"T={T}", kinds, cores, rounds) for T in CONTEXTS}
    by_threads = {n: measure("article", kinds, n, rounds) for n in range(1, cores + 1)}
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = dict(
        zip(kinds, [("o-", "#0072B2"), ("s--", "#555555"), ("^-", "#D55E00"), ("v-", "#E69F00")], strict=False)
    )
    for axes, results, label in (
        (left, by_context, "context T, at 4096 tokens a step"),
        (right, by_threads, "threads"),
    ):
        for kind, (style, color) in styles.items():
            spreads = [spread_of(results[x]["kinds"][kind]) for x in results]
            axes.plot(list(results), [spread.median for spread in spreads], style, color=color, label=kind)
            edges = [spread.low for spread in spreads], [spread.high for spread in spreads]
            axes.fill_between(list(results), *edges, color=color, alpha=0.15, lw=0)
        axes.set_xlabel(label)
        axes.set_ylabel("ms a step")
        axes.set_ylim(bottom=0)
        axes.set_xticks(list(results))
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_title("2 layers, C 256: how cost grows with the context")
    right.set_title("the article's shape")
    figure.savefig(path, dpi=120)
    return {"by_context": by_context, "by_threads": by_threads}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), help="default: all")
    parser.add_argument("--rounds", type=at_least_1, default=7)
    parser.add_argument("--threads", type=at_least_1, default=available_cores())
    parser.add_argument("--curves", metavar="FILE", help="measure over context and threads instead, and draw")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    if any(kind.startswith("torch") for kind in arguments.kinds or []):
        need_torch()
    machine = describe_machine() | {"threads": arguments.threads}
    if arguments.curves:
        results = draw_curves(arguments.curves, arguments.rounds)
    else:
        kinds = arguments.kinds or with_torch_or_without(list(KINDS))
        results = {name: measure(name, kinds, arguments.threads, arguments.rounds) for name in arguments.shapes}
    if arguments.json or arguments.curves:
        print(json.dumps({"machine": machine, "results": results}, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    for name, result in results.items():
        print(table(name, result))


if __name__ == "__main__":
    cli.run(main)
