"""The README.md of an exported folder: what the model is, how well it did, how to load it."""

import math

from gpt.hub.load import Loaded
from gpt.hub.shapes import Shape


def model_card(loaded: Loaded, shape: Shape) -> str:
    config, tokenizer, checkpoint = loaded.model.config, loaded.tokenizer, loaded.checkpoint
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [nanograd]",
        "---",
        "",
        "# A GPT trained with nanograd",
        "",
        f"{loaded.model.n_parameters():,} parameters as a {shape.architecture}: {config.n_layer} layers, "
        f"{config.n_head} heads, {config.n_embd} channels, a context of {config.block_size} tokens, "
        f"a {tokenizer.kind} vocabulary of {tokenizer.vocab_size}. "
        "Every gradient of its training was derived and written by hand, in NumPy or CuPy.",
        "",
    ]
    if checkpoint is not None:
        lines.append(f"- step {checkpoint.step} of its training")
        if checkpoint.val_loss is not None:
            perplexity = math.exp(min(checkpoint.val_loss, 700))
            lines.append(f"- validation loss {checkpoint.val_loss:.4f} nats a token (perplexity {perplexity:.2f})")
        flags = checkpoint.state.get("flags")
        if isinstance(flags, dict):
            names = "max_steps", "batch_size", "lr", "weight_decay", "dropout", "seed"
            lines.append("- " + ", ".join(f"{name} {flags[name]}" for name in names if name in flags))
        lines.append("")
    lines += [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        "```",
        "",
    ]
    if tokenizer.kind == "char":
        lines += [
            "The vocabulary is the characters of the training text. A character that is not among them is dropped "
            "without a word by AutoTokenizer, and is an error in nanograd.",
            "",
        ]
    return "\n".join(lines)
