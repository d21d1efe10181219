"""Tokens a second when sampling one stream: this project, and PyTorch without and with a KV cache.

    python -m benchmarks.sample_speed [--json]

The model is nanoGPT's CPU recipe (4 layers, 4 heads, C 128, T 64, V 65), batch 1. Two stretches are measured: within
the context (63 tokens after a prompt of one, again and again), and beyond it (the window slides with every token, so
all positions change and no cache helps). Choosing the token is part of it: temperature 0.8, no filters.
Contenders take turns in rounds, until the spread of each is small or three times as many rounds are done; figures are
medians, with the 10th and the 90th percentile.
"""

import argparse
import json
import sys
import time
from dataclasses import astuple

from benchmarks.contenders.shapes import SHAPES
from benchmarks.contenders.spread import Spread, busy, conditions, ratio, until_steady
from benchmarks.machine import at_least_1, describe_machine, with_torch_or_without
from gpt.cli import command_line as cli

CONFIG = SHAPES["nanogpt-cpu"].model
WITHIN, BEYOND = CONFIG.block_size - 1, 64


def ours(threads: int):
    from gpt.model import GPT
    from gpt.sampling.generate import generate
    from nanograd import Device
    from nanograd.device.threads import limit_blas

    limit_blas(threads)
    model = GPT(CONFIG, Device("numpy")).eval()
    # `generate` feeds the prompt before the first token: a prompt of T makes every token slide the window.
    controls = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 0}

    def run(prompt: int, n: int) -> None:
        for _ in generate(model, [1] * prompt, max_new_tokens=n, **controls):
            pass

    return run


def torch_uncached(threads: int):
    import torch

    from benchmarks.contenders.torch_gpt import TorchGPT

    torch.set_num_threads(threads)
    model = TorchGPT(CONFIG).eval()

    @torch.inference_mode()
    def run(prompt: int, n: int) -> None:
        ids = torch.ones(1, prompt, dtype=torch.long)
        for _ in range(n):
            probabilities = torch.softmax(model(ids[:, -CONFIG.block_size :]) / 0.8, dim=-1)
            ids = torch.cat([ids, torch.multinomial(probabilities, 1)], dim=1)

    return run


def torch_cached(threads: int):
    import torch

    from benchmarks.contenders.torch_gpt import TorchGPT

    torch.set_num_threads(threads)
    model = TorchGPT(CONFIG).eval()
    shape = (1, CONFIG.n_head, CONFIG.block_size, CONFIG.n_embd // CONFIG.n_head)

    @torch.inference_mode()
    def run(prompt: int, n: int) -> None:
        caches = [(torch.empty(shape), torch.empty(shape)) for _ in model.h]
        ids = torch.ones(1, prompt, dtype=torch.long)
        fresh, start = ids, 0
        for _ in range(n):
            if start + fresh.shape[1] > CONFIG.block_size:
                fresh, start = ids[:, -CONFIG.block_size :], 0
            probabilities = torch.softmax(model(fresh, caches=caches, start=start) / 0.8, dim=-1)
            start += fresh.shape[1]
            fresh = torch.multinomial(probabilities, 1)
            ids = torch.cat([ids, fresh], dim=1)

    return run


def measure(rounds: int) -> tuple[dict[str, dict[str, Spread]], list[str]]:
    """({"within" | "beyond": {contender: microseconds a token}}, which are not steady), one thread each: batch 1 gains
    nothing from two."""
    kinds = {"nanograd": ours, "torch without a cache": torch_uncached, "torch with a cache": torch_cached}
    contenders = {name: kinds[name](1) for name in with_torch_or_without(list(kinds))}
    stretches = {"within": (1, WITHIN), "beyond": (CONFIG.block_size, BEYOND)}
    seconds = {stretch: {name: [] for name in contenders} for stretch in stretches}

    def take_turns() -> None:
        for stretch, (prompt, n) in stretches.items():
            for name, run in contenders.items():
                start = time.perf_counter()
                run(prompt, n)
                seconds[stretch][name].append((time.perf_counter() - start) / n * 1e6)

    take_turns()  # warms up
    for by_name in seconds.values():
        for values in by_name.values():
            values.clear()
    unsteady = until_steady(
        take_turns, lambda: {f"{name} {s}": v for s, by in seconds.items() for name, v in by.items()}, rounds
    )
    spreads = {stretch: {name: Spread.of(v) for name, v in by_name.items()} for stretch, by_name in seconds.items()}
    return spreads, unsteady


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sample_speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=at_least_1, default=25)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    machine, before = describe_machine(), busy()
    result, unsteady = measure(arguments.rounds)
    after = busy()
    if arguments.json:
        rates = {stretch: {name: 1e6 / s.median for name, s in by_name.items()} for stretch, by_name in result.items()}
        times = {stretch: {name: astuple(s) for name, s in by_name.items()} for stretch, by_name in result.items()}
        told = {"machine": machine, "tokens_per_s": rates, "us_a_token": times, "unsteady": unsteady}
        json.dump(told | {"busy": [before, after]}, sys.stdout, indent=1)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    print("| tokens/s (of the 90th and the 10th percentile of times) | within the context | beyond it |")
    print("|---|---|---|")
    for name in result["within"]:
        print(f"| {name} | {rate(result['within'][name])} | {rate(result['beyond'][name])} |")
    for name in list(result["within"])[1:]:
        ratios = (f"{ratio(by_name[name], by_name['nanograd'])} {stretch}" for stretch, by_name in result.items())
        print(f"ours / {name}: {', '.join(ratios)}")
    print(conditions(unsteady, before, after))


def rate(spread: Spread) -> str:
    """Tokens a second of times in microseconds."""
    return f"{1e6 / spread.median:,.0f} ({1e6 / spread.high:,.0f} to {1e6 / spread.low:,.0f})"


if __name__ == "__main__":
    cli.run(main)
