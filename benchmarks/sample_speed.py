"""Tokens a second when sampling one stream: this project, and PyTorch without and with a KV cache.

    python -m benchmarks.sample_speed [--json]

The model is nanoGPT's CPU recipe (4 layers, 4 heads, C 128, T 64, V 65), batch 1. Two stretches are measured: within
the context (63 tokens after a prompt of one, again and again), and beyond it (the window slides with every token, so
all positions change and no cache helps). Choosing the token is part of it: temperature 0.8, no filters.
Contenders take turns in rounds; figures are medians.
"""

import argparse
import json
import sys
import time

import numpy as np

from benchmarks.contenders.shapes import SHAPES
from benchmarks.machine import describe_machine, installed

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


def measure(rounds: int) -> dict:
    """{"within" | "beyond": {contender: tokens a second}}, one thread each: batch 1 gains nothing from two."""
    contenders = {"nanograd": ours(1)}
    if installed("torch"):
        contenders |= {"torch without a cache": torch_uncached(1), "torch with a cache": torch_cached(1)}
    stretches = {"within": (1, WITHIN), "beyond": (CONFIG.block_size, BEYOND)}
    seconds = {stretch: {name: [] for name in contenders} for stretch in stretches}
    for number in range(rounds + 1):
        for stretch, (prompt, n) in stretches.items():
            for name, run in contenders.items():
                start = time.perf_counter()
                run(prompt, n)
                if number:  # the first round warms up
                    seconds[stretch][name].append((time.perf_counter() - start) / n)
    return {
        stretch: {name: 1 / float(np.median(values)) for name, values in by_name.items()}
        for stretch, by_name in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sample_speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    machine, result = describe_machine(), measure(arguments.rounds)
    if arguments.json:
        json.dump({"machine": machine, "tokens_per_s": result}, sys.stdout, indent=1)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    print("| tokens/s | within the context | beyond it |\n|---|---|---|")
    for name in result["within"]:
        print(f"| {name} | {result['within'][name]:,.0f} | {result['beyond'][name]:,.0f} |")
    own = {stretch: by_name["nanograd"] for stretch, by_name in result.items()}
    for name in list(result["within"])[1:]:
        print(
            f"ours / {name}: {own['within'] / result['within'][name]:.2f} within, "
            f"{own['beyond'] / result['beyond'][name]:.2f} beyond"
        )


if __name__ == "__main__":
    main()
