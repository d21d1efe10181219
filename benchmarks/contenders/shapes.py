"""The shapes that speed is measured at."""

from dataclasses import dataclass, replace

from gpt.config.options import GPTConfig


@dataclass(frozen=True)
class Shape:
    """A model and the batch it is trained with."""

    about: str
    batch_size: int
    model: GPTConfig

    def tokens(self) -> int:
        return self.batch_size * self.model.block_size


PLAIN = {"activation": "gelu", "tie_weights": True, "bias": False}  # as nanoGPT's recipes have it
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "tie_weights": True, "bias": False}

# The shapes of two models that others trained, as they are read: the whole context.
GPT2 = GPTConfig(
    50257, block_size=1024, n_layer=12, n_head=12, n_embd=768, activation="gelu", tie_weights=True, qkv_bias=True
)
SMOLLM2 = GPTConfig(
    49152,
    block_size=2048,
    n_layer=30,
    n_head=9,
    n_kv_head=3,
    n_embd=576,
    n_inner=1536,
    rope_theta=1e5,
    **LLAMA,
)

SHAPES = {
    "article": Shape("2 layers, 4 heads, C 128, T 64, B 32, V 200", 32, GPTConfig(200)),
    "nanogpt-cpu": Shape("4 layers, 4 heads, C 128, T 64, B 12, V 65", 12, GPTConfig(65, n_layer=4, **PLAIN)),
    "baby": Shape(
        "6 layers, 6 heads, C 384, T 256, B 8, V 65",
        8,
        GPTConfig(65, block_size=256, n_layer=6, n_head=6, n_embd=384, **PLAIN),
    ),
    "nanogpt-cpu-llama": Shape(
        "Llama's blocks at nanoGPT's CPU shape: 4 layers, 4 heads, 2 of keys and values, C 128, T 64, B 12, V 65",
        12,
        GPTConfig(65, n_layer=4, n_kv_head=2, **LLAMA),
    ),
    "baby-llama": Shape(
        "Llama's blocks at the baby shape: 6 layers, 6 heads, 3 of keys and values, C 384, T 256, B 8, V 65",
        8,
        GPTConfig(65, block_size=256, n_layer=6, n_head=6, n_kv_head=3, n_embd=384, **LLAMA),
    ),
    "gpt2": Shape(
        "GPT-2 124M: 12 layers, 12 heads, C 768, T 64, B 4, V 50257",
        4,
        replace(GPT2, block_size=64),
    ),
}


def long_context(T: int) -> Shape:
    """A small model at context T, 4096 tokens a batch, to see how the cost grows with T."""
    config = GPTConfig(65, block_size=T, n_layer=2, n_head=4, n_embd=256, **PLAIN)
    return Shape(f"2 layers, 4 heads, C 256, T {T}, B {4096 // T}, V 65", 4096 // T, config)
