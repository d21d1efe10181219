"""The cases in which this project and PyTorch must say the same, and this project's side of them.

torch_reference.py is the other side. Weights and inputs are made by a formula, not drawn, so that recorded values
(tests/support/pytorch/torch_reference.npz) stay right whatever random generators do.
"""

import math
from pathlib import Path

import numpy as np

from gpt.config.options import GPTConfig
from gpt.model import GPT, Block
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.device.rng import RNG
from nanograd.layers.activations import GELU, ReLU, ReLUSquared
from nanograd.layers.attention import Attention, CausalSelfAttention
from nanograd.layers.cross_entropy import CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.swiglu import GatedMLP, SwiGLU
from nanograd.optim.schedule import warmup_cosine

RECORDED = Path(__file__).parent / "torch_reference.npz"


def numbers(name: str, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Numbers in (-scale, scale) without a pattern to speak of, the same for the same name and shape."""
    offset = sum(i * ord(letter) for i, letter in enumerate(name, 1)) % 9973
    k = np.arange(1, math.prod(shape) + 1) + offset
    return (scale * (2 * np.modf(k * k * 0.6180339887498949)[0] - 1)).reshape(shape)


def ids(name: str, below: int, *shape: int) -> np.ndarray:
    """Token ids below `below`, some of them repeated."""
    return np.minimum((numbers(name, *shape) + 1) / 2 * below, below - 1).astype(np.int64)


def fill(layer, scale: float = 0.5) -> None:
    """Give every parameter of `layer` its numbers, gains around 1."""
    for name, p in layer.named_parameters():
        is_norm = "ln_" in name or "_norm" in name or isinstance(layer, LayerNorm | RMSNorm)
        gain = 1.0 if name.endswith("weight") and is_norm else 0.0
        p.value[...] = gain + numbers(name, *p.shape, scale=scale)


# Every layer

B, T, C, H, V = 2, 5, 6, 2, 7
BLOCK = GPTConfig(vocab_size=V, block_size=T, n_layer=1, n_head=H, n_embd=C, activation="gelu", qkv_bias=True)

LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "bias": False}
LLAMA_BLOCK = GPTConfig(vocab_size=V, block_size=T, n_layer=1, n_head=H, n_embd=C, head_dim=4, n_inner=9, **LLAMA)


def layer_cases(device: Device) -> dict:
    """{name: (layer, inputs)}"""
    x = numbers("x", B, T, C, scale=1.5)
    none = Dropout(0.0, device=device)
    cases = {
        "Linear": (Linear(C, 4, device=device), (x,)),
        "ReLU": (ReLU(), (x,)),
        "GELU": (GELU(), (2 * x,)),
        "ReLUSquared": (ReLUSquared(), (x,)),
        "LayerNorm": (LayerNorm(C, device=device), (x,)),
        "RMSNorm": (RMSNorm(C, device=device), (x,)),
        "RMSNorm, no weight": (RMSNorm(C, False, device=device, eps=0.1), (x,)),
        "RoPE": (RoPE(8), (numbers("heads", B, T, 3, 8),)),
        "RoPE, interleaved": (RoPE(8, "interleaved"), (numbers("heads", B, T, 3, 8),)),
        "SwiGLU": (SwiGLU(), (3 * x, numbers("up", *x.shape))),
        "GatedMLP": (GatedMLP(C, 8, device=device), (x,)),
        "Dropout": (Dropout(0.4, device=device), (x,)),
        "Attention": (Attention(H, none), (numbers("qkv", B, T, 3 * C, scale=2.0),)),
        "Attention, shared heads": (Attention(4, none, n_kv_head=2), (numbers("qkv", B, T, 8 * 3, scale=2.0),)),
        "CausalSelfAttention": (CausalSelfAttention(C, H, device=device, qkv_bias=True), (x,)),
        "CausalSelfAttention, later": (later_attention(device), (x,)),
        "MLP": (MLP(C, device=device, activation="gelu"), (x,)),
        "Embedding": (Embedding(V, C, device=device), (ids("ids", V, B, T),)),
        "PositionEmbedding": (PositionEmbedding(T + 2, C, device=device), (x,)),
        "LMHead": (LMHead(V, C, device=device), (x,)),
        "CrossEntropy": (CrossEntropy(), (numbers("logits", B, T, V, scale=4.0), ids("targets", V, B, T))),
        "Block": (Block(BLOCK, device, RNG(0), 0), (x,)),
        "Block, Llama's": (Block(LLAMA_BLOCK, device, RNG(0), 0), (x,)),
    }
    for layer, _ in cases.values():
        fill(layer)
    return cases


def later_attention(device: Device) -> CausalSelfAttention:
    """Shared heads of their own width, normalised and rotated."""
    options = {"n_kv_head": 2, "head_dim": 6, "rope": RoPE(6), "qkv_bias": True, "bias": False}
    return CausalSelfAttention(C, 4, device=device, qk_norm=tuple(RMSNorm(6, device=device) for _ in "qk"), **options)


def named_gradients(gradients) -> dict[str, np.ndarray]:
    """{"dx": …, "dx1": …} of the inputs that have gradients: what backward returns, one array, a tuple or None."""
    if not isinstance(gradients, list | tuple):
        gradients = () if gradients is None else (gradients,)
    return {f"dx{number or ''}": np.array(gradient) for number, gradient in enumerate(gradients)}


def dropout_mask(layer: Dropout, x) -> np.ndarray:
    """The mask that the layer's next forward will use."""
    layer.rng.begin_step(0)
    mask = layer.forward(np.ones_like(x)).copy()
    layer.rng.begin_step(0)
    return mask


def our_layers() -> dict[str, np.ndarray]:
    """{"Linear/y": ..., "Linear/dx": ..., "Linear/weight": ...}: outputs and gradients."""
    found = {}
    for name, (layer, inputs) in layer_cases(Device("numpy", dtype="float64")).items():
        if name == "Dropout":
            layer.rng.begin_step(0)
        y = layer.forward(*inputs)
        found[f"{name}/y"] = np.array(y)
        dx = layer.backward(numbers("dy", *np.shape(y)) if np.ndim(y) else 0.7)
        found |= {f"{name}/{n}": gradient for n, gradient in named_gradients(dx).items()}
        found |= {f"{name}/{n}": p.grad.copy() for n, p in layer.named_parameters()}
    return found


# The whole model

MODELS = {
    "article": {},
    "gpt2": {"activation": "gelu", "tie_weights": True, "qkv_bias": True},
    "bare": {"activation": "gelu", "bias": False},
    "tied": {"tie_weights": True, "n_layer": 1},
    "T1": {"short": 1},
    "B1": {"batch": 1},
    "llama": LLAMA,
    "llama 3": LLAMA
    | {"rope_theta": 5e5, "rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_context": 16}
    | {"n_head": 4, "n_kv_head": 2, "n_embd": 16},
    "qwen 2": LLAMA | {"qkv_bias": True, "tie_weights": True, "norm_eps": 1e-6},
    "qwen 3": LLAMA | {"qk_norm": "rms_weight", "head_dim": 6, "norm_eps": 1e-6, "rope_theta": 1e6},
    "relu2, QK-norm": {"norm": "rmsnorm", "position": "rope", "activation": "relu2", "qk_norm": "rms"},
    "linear": {"position": "rope", "rope_scaling": "linear", "rope_factor": 4.0, "n_inner": 5, "norm_eps": 0.1},
}


def model_case(name: str, dtype: str = "float64"):
    """(model, idx, targets), parameters far from where they start."""
    settings = {"vocab_size": 11, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8} | MODELS[name]
    batch, short = settings.pop("batch", 3), settings.pop("short", 6)
    model = GPT(GPTConfig(**settings), Device("numpy", dtype=dtype))
    fill(model, scale=0.4)
    return model, ids("idx", 11, batch, short), ids("targets", 11, batch, short)


def our_model(name: str, dtype: str = "float64") -> dict[str, np.ndarray]:
    """{"loss": ..., "logits": ..., and each parameter's gradient by name}."""
    model, idx, targets = model_case(name, dtype)
    logits, loss = model(idx, targets)
    model.backward()
    return {"loss": np.array(loss), "logits": logits.copy()} | {n: p.grad.copy() for n, p in model.named_parameters()}


# AdamW and clipping

STEPS = 200
ADAMW = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
CLIP = 1.0


def optimizer_model() -> GPT:
    config = GPTConfig(vocab_size=5, block_size=3, n_layer=1, n_head=1, n_embd=4, qkv_bias=True)
    model = GPT(config, Device("numpy", dtype="float64"))
    fill(model)
    return model


def gradient_at(step: int, name: str, shape) -> np.ndarray:
    """Gradients made up for a step: those of some steps are clipped, those of others are not."""
    return numbers(f"{name} {step}", *shape, scale=0.01 + 0.3 * (step % 3))


def our_optimizer() -> dict[str, np.ndarray]:
    """Parameters and moments after 200 clipped steps, and the norm at each step."""
    model = optimizer_model()
    optimizer = AdamW(model, **ADAMW)
    norms = []
    for step in range(STEPS):
        optimizer.zero_grad()
        for name, p in model.named_parameters():
            p.grad += gradient_at(step, name, p.shape)
        optimizer.lr = ADAMW["lr"] * (1 + step % 5)
        norms.append(clip_grad_norm(model, CLIP))
        optimizer.step()
    return {"norms": np.array(norms)} | model.state_dict()


# A training run on real text

RUN_STEPS, RUN_BATCH = 300, 4
RUN = {"block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16, "activation": "gelu"}
RUN_ADAMW = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def run_text() -> np.ndarray:
    """20000 characters of the embedded corpus, as ids: a recorded piece, since the corpus may change."""
    with np.load(RECORDED) as file:
        return file["text"].astype(np.int64)


def run_batch(tokens: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    starts = (7919 * (RUN_BATCH * step + np.arange(RUN_BATCH))) % (len(tokens) - RUN["block_size"] - 1)
    windows = tokens[starts[:, None] + np.arange(RUN["block_size"] + 1)]
    return windows[:, :-1], windows[:, 1:]


def run_model(vocab_size: int) -> GPT:
    model = GPT(GPTConfig(vocab_size=vocab_size, **RUN), Device("numpy", dtype="float64"))
    fill(model, scale=0.1)
    return model


def run_rate(step: int) -> float:
    return warmup_cosine(step, lr=RUN_ADAMW["lr"], min_lr=3e-4, warmup_steps=30, max_steps=RUN_STEPS)


def our_run() -> dict[str, np.ndarray]:
    """The loss of each step."""
    tokens = run_text()
    model = run_model(int(tokens.max()) + 1)
    optimizer = AdamW(model, **RUN_ADAMW)
    losses = []
    for step in range(RUN_STEPS):
        _, loss = model(*run_batch(tokens, step))
        losses.append(float(loss))
        optimizer.zero_grad()
        model.backward()
        clip_grad_norm(model, CLIP)
        optimizer.lr = run_rate(step)
        optimizer.step()
    return {"losses": np.array(losses)}
