"""Several ranks against threads at equal cores, the share of communication, and what a cluster would make of it.

    python -m benchmarks.scaling                     measure here with 1 and 2 ranks, fit, and predict
    python -m benchmarks.scaling --shapes baby --rounds 9
    python -m benchmarks.scaling --step_ms 39        predict for ranks that take 39 ms for their part of a step

Measured in rounds, contenders in turn, until the spread of each is small or three times as many rounds are done;
medians, with the 10th and the 90th percentile. Where other programs want the cores too, wall times say little: Linux
gives each rank, but not each thread, a share of its own. Then read the CPU time, which is that of all ranks together.
The model and its sources: docs/scaling.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

from benchmarks.contenders.contender import Contender, shape_of
from benchmarks.contenders.shapes import SHAPES
from benchmarks.contenders.spread import Spread, busy, conditions, ratio, until_steady
from benchmarks.cost_model import NETWORKS, all_reduce_seconds, fit, predict
from benchmarks.machine import at_least_1, describe_machine, installed
from gpt.cli import command_line as cli
from gpt.errors import RunError
from nanograd.device.cores import available_cores

SECONDS_A_ROUND = 1.5
ALL_REDUCES = (1, 64, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)  # float32 numbers
GPT2_PARAMETERS = 124_439_808
GPU_STEP_MS = 39.0  # an H200 at B 16, T 1024 in bfloat16: an estimate, replaced by --step_ms
RANKS = (8, 64, 1024)


class RankContender(Contender):
    """`n` ranks of `threads` threads, under mpiexec where they are several, that answer as one."""

    def __init__(self, shape: str, n: int, threads: int):
        self.kind, self.shape, self.threads = "nanograd", shape, threads
        self.ms, self.cpu, self.peak_mb, self.waiting, self.exchange = [], [], 0.0, [], []
        python = [sys.executable] if n == 1 else [find_mpiexec(), "-n", str(n), sys.executable, "-m", "mpi4py"]
        command = [*python, "-m", "benchmarks.rank_steps", shape, str(threads)]
        environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self._answer()

    def run(self, repetitions: int) -> None:
        answer = self.ask(f"steps {repetitions}")
        self.ms += answer["ms"]
        self.peak_mb = answer["peak_mb"]
        self.cpu.append(answer["cpu_ms"])
        self.waiting.append(answer["waiting_ms"])
        self.exchange.append(answer["exchange_ms"])

    def ask(self, command: str) -> dict:
        print(command, file=self.process.stdin, flush=True)
        return self._answer()


def find_mpiexec() -> str:
    """The one beside this Python, or any on the path; ends the program where that or mpi4py is missing."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None or not installed("mpi4py"):
        raise RunError('mpiexec and mpi4py are needed: pip install -e ".[mpi]"')
    return mpiexec


def measure(shape: str, rounds: int, n: int) -> dict:
    """{"kinds": {contender: figures}} of one thread, `n` threads and `n` ranks, in turn; the rest as in train_speed."""
    contenders, before = [], busy()
    names = "1 thread", f"{n} threads", f"{n} ranks"

    def take_turns() -> None:
        for contender in contenders:
            contender.run(max(1, int(SECONDS_A_ROUND * 1e3 / contender.median())) if contender.ms else 1)
        print(f"{shape}: a round of {rounds} or more", file=sys.stderr, flush=True)

    try:
        for ranks, threads in ((1, 1), (1, n), (n, 1)):
            contenders.append(RankContender(shape, ranks, threads))
        unsteady = until_steady(take_turns, lambda: {x: c.ms for x, c in zip(names, contenders, strict=True)}, rounds)
    finally:
        for contender in contenders:
            contender.close()
    ranks = contenders[-1]
    tokens = shape_of(shape).tokens()
    figures = {
        name: {
            "ms": c.median(),
            "spread": astuple(Spread.of(c.ms)),
            "cpu_ms": astuple(Spread.of(c.cpu)),
            "tokens_per_s": tokens / c.median() * 1e3,
            "peak_mb": c.peak_mb,
        }
        for name, c in zip(names, contenders, strict=True)
    }
    figures[f"{n} ranks"] |= {
        name: astuple(Spread.of(values).times(1 / ranks.median()))
        for name, values in (("waiting", ranks.waiting), ("exchange", ranks.exchange))
    }
    return {"kinds": figures, "unsteady": unsteady, "busy": [before, busy()]}


def measure_all_reduce(n: int, rounds: int) -> dict:
    """{"us": {bytes: microseconds of an all-reduce between `n` ranks of this machine, a Spread}}; the rest as above."""
    before, us = busy(), {size: [] for size in ALL_REDUCES}
    ranks = RankContender("article", n, 1)

    def take_turns() -> None:
        for size, values in us.items():
            answer = ranks.ask(f"all_reduce {size} {max(3, min(200, 2_000_000 // size))}")
            values.extend(ms * 1e3 for ms in answer["ms"])

    try:
        unsteady = until_steady(take_turns, lambda: {f"{4 * size:,} bytes": v for size, v in us.items()}, rounds)
    finally:
        ranks.close()
    spreads = {size * 4: Spread.of(values) for size, values in us.items()}
    return {"us": spreads, "unsteady": unsteady, "busy": [before, busy()]}


def scaling_table(shape: str, result: dict, n: int) -> str:
    figures = result["kinds"]
    one, threads, ranks = figures["1 thread"], figures[f"{n} threads"], figures[f"{n} ranks"]
    lines = [
        f"{shape}: {shape_of(shape).about}",
        "",
        "| | ms a step (10th to 90th percentile) | CPU ms a step | tokens/s | efficiency | peak memory, MB |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, figure in figures.items():
        cores = 1 if name == "1 thread" else n
        efficiency = ratio(Spread(*one["spread"]), Spread(*figure["spread"]).times(cores)) if cores > 1 else "1"
        memory = f"{figure['peak_mb']:.0f}" + (f" x {n}" if name.endswith("ranks") else "")
        times = f"{Spread(*figure['spread'])} | {Spread(*figure['cpu_ms'])} | {figure['tokens_per_s']:,.0f}"
        lines.append(f"| {name} | {times} | {efficiency} | {memory} |")
    quicker = ratio(Spread(*threads["spread"]), Spread(*ranks["spread"]))
    exchange, waiting = (percent(Spread(*ranks[name])) for name in ("exchange", "waiting"))
    lines += [
        "",
        f"tokens/s, {n} ranks / {n} threads: {quicker}; of a rank's step {exchange} is the exchange, {waiting} waiting "
        "for the other",
        "",
        conditions(result["unsteady"], *result["busy"]),
        "",
    ]
    return "\n".join(lines)


def percent(share: Spread) -> str:
    return f"{share.median:.1%} ({share.low:.1%} to {share.high:.1%})"


def prediction_table(step_ms: float, about: str) -> str:
    n_bytes = 4 * GPT2_PARAMETERS
    lines = [f"GPT-2 124M, {n_bytes / 1e6:.0f} MB of float32 gradients; {about}: {step_ms:.0f} ms", ""]
    lines += ["| network | ranks | all-reduce, ms | step, ms | efficiency | hidden behind backward |"]
    lines += ["|---|---|---|---|---|---|"]
    for network in NETWORKS:
        for ranks in RANKS:
            p = predict(step_ms / 1e3, n_bytes, ranks, network)
            lines.append(
                f"| {network.name} | {ranks} | {p.communication * 1e3:.0f} | {p.step * 1e3:.0f} | {p.efficiency:.2f} "
                f"| {p.overlapped_efficiency:.2f} |"
            )
    return "\n".join([*lines, ""])


def fit_table(measured: dict, n: int) -> tuple[str, dict]:
    """The model's fit to the medians of `measure_all_reduce`: a table, and {"alpha", "bandwidth"}."""
    us = measured["us"]
    network = fit(list(us), [spread.median / 1e6 for spread in us.values()], n)
    lines = ["| bytes | measured, µs (10th to 90th percentile) | model, µs |", "|---|---|---|"]
    lines += [
        f"| {size:,} | {spread} | {all_reduce_seconds(size, n, network) * 1e6:.1f} |" for size, spread in us.items()
    ]
    words = f"fitted: {network.alpha * 1e6:.1f} µs a message, {network.bandwidth / 1e9:.2f} GB/s; "
    words += conditions(measured["unsteady"], *measured["busy"])
    return "\n".join([f"an all-reduce between {n} ranks of this machine", "", *lines, "", words, ""]), {
        "alpha": network.alpha,
        "bandwidth": network.bandwidth,
    }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=["article", "nanogpt-cpu", "gpt2"])
    parser.add_argument("--rounds", type=at_least_1, default=7)
    parser.add_argument("--ranks", type=at_least_1, default=max(2, available_cores()))
    parser.add_argument("--step_ms", type=float, help="a rank's compute time for its part of a GPT-2 124M step")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    n = arguments.ranks
    machine = describe_machine() | {"mpi4py": installed("mpi4py"), "mpich": installed("mpich")}
    results = {shape: measure(shape, arguments.rounds, n) for shape in arguments.shapes}
    measured = measure_all_reduce(n, arguments.rounds)
    words, fitted = fit_table(measured, n)
    if arguments.json:
        measured["us"] = {size: astuple(spread) for size, spread in measured["us"].items()}
        print(json.dumps({"machine": machine, "results": results, "all_reduce": measured, "fit": fitted}, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    for shape, figures in results.items():
        print(scaling_table(shape, figures, n))
    print(words)
    if arguments.step_ms is not None:
        print(prediction_table(arguments.step_ms, "a rank's own part of a step"))
        return
    print(prediction_table(GPU_STEP_MS, "a rank is a GPU that takes for its B 16, T 1024 (estimated, H200, bfloat16)"))
    if "gpt2" in results:
        ms = results["gpt2"]["kinds"]["1 thread"]["ms"]
        print(prediction_table(ms, "a rank is a core of this machine, which takes for its B 4, T 64"))


if __name__ == "__main__":
    cli.run(main)
