"""Hugging Face's `generate` with its KV cache: a process of its own, which may run in an environment of its own.

    python benchmarks/contenders/hugging_face.py '{"kind": "gpt2", "prompt": 64, "tokens": 64}'

For each line on stdin one run, whose result is a line of JSON on stdout: seconds a token, prompt left out, and the
memory of the process over that of the weights. Nothing of this project is imported: its `tokenizers` would stand in the
way of the package of that name.
"""

import json
import sys
import time


def model_of(kind: str, shape: dict):
    """GPT-2 124M, or a Llama of this shape, with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config())
    else:
        model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **shape))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model.eval()


def main(settings: dict) -> None:
    import torch

    model = model_of(settings["kind"], settings.get("shape", {}))
    ids = torch.randint(0, model.config.vocab_size, (1, settings["prompt"]))
    size = sum(parameter.nbytes for parameter in model.parameters())

    def seconds(tokens: int) -> float:
        start = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        return time.perf_counter() - start

    with torch.inference_mode():
        seconds(settings["tokens"])
        reset_peak()
        for _ in sys.stdin:
            prompt = seconds(1)
            token = (seconds(settings["tokens"] + 1) - prompt) / settings["tokens"]
            print(json.dumps({"seconds": token, "memory": peak() / size}), flush=True)


def reset_peak() -> None:
    """Let the peak of this process's memory start from what it has now (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak() -> float:
    """The peak of this process's memory since then, in bytes."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
