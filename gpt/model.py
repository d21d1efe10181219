"""A GPT: embeddings, a stack of pre-LayerNorm blocks, a final LayerNorm, a head (GPT-2's layout and names).

    x = wte[ids] + wpe[positions]
    x = x + attn(ln_1(x));  x = x + mlp(ln_2(x))         in each block
    logits = lm_head(ln_f(x))

With RoPE there is no wpe: attention rotates queries and keys instead. RMSNorm keeps the names of the LayerNorms that it
stands in for.

Backward through a residual x + f(x): the gradient reaches x by both ways and adds up, dx = dy + f'(dy).
"""

import contextlib
import functools
import json
import math
import os
import re
from dataclasses import asdict
from pathlib import Path

from gpt.config.options import GPTConfig
from gpt.errors import UsageError
from gpt.files import atomic_file, explained, make_folder, write_text
from gpt.notebook import html
from gpt.tensors.safetensors import write_safetensors
from nanograd import Device
from nanograd.device.device import check_device
from nanograd.device.rng import RNG
from nanograd.layers.attention import CausalSelfAttention
from nanograd.layers.cross_entropy import IGNORED, CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import Layer, share_scratch
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.linear import Linear
from nanograd.layers.mlp import MLP
from nanograd.layers.rmsnorm import RMSNorm
from nanograd.layers.rope import RoPE
from nanograd.layers.swiglu import GatedMLP
from nanograd.optim.arena import rounded_together

STD = 0.02  # of the weights at the start, as in GPT-2
SHAPE, WEIGHTS = "model.json", "model.safetensors"  # what `save` writes
GATE_STREAMS = 10_000  # the first of the random streams of gates, above those of all other weights


def norm_of(config: GPTConfig, device: Device) -> Layer:
    """The norm before a part of a block."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.n_embd, device=device, eps=config.norm_eps)
    return LayerNorm(config.n_embd, config.bias, device=device, eps=config.norm_eps)


def attention_options(config: GPTConfig, device: Device) -> dict:
    """The options of CausalSelfAttention beyond GPT-2's sizes."""
    D, weight = config.head_channels, config.qk_norm == "rms_weight"
    norms = (RMSNorm(D, weight, device=device, eps=config.norm_eps) for _ in range(2))
    return {
        "qkv_bias": config.qkv_bias,
        "n_kv_head": config.n_kv_head,
        "head_dim": config.head_dim,
        "rope": RoPE(D, **config.rope_settings) if config.position == "rope" else None,
        "qk_norm": None if config.qk_norm == "none" else tuple(norms),
    }


class Block(Layer):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x)). `number` counts the blocks from 0."""

    def __init__(self, config: GPTConfig, device: Device, rng: RNG, number: int):
        # Each block adds to the residual stream twice; the division keeps its variance in bounds at the start.
        settings = {
            "device": device,
            "dropout": config.dropout,
            "rng": rng,
            "bias": config.bias,
            "proj_std": 0.0 if config.zero_init else STD / math.sqrt(2 * config.n_layer),
        }
        C, stream = config.n_embd, 10 + 4 * number
        self.ln_1 = norm_of(config, device)
        options = attention_options(config, device)
        self.attn = CausalSelfAttention(C, config.n_head, stream=stream, **options, **settings)
        self.ln_2 = norm_of(config, device)
        settings |= {"stream": stream + 2, "n_inner": config.inner_channels}
        if config.activation == "swiglu":
            self.mlp = GatedMLP(C, gate_stream=GATE_STREAMS + number, **settings)
        else:
            self.mlp = MLP(C, activation=config.activation, **settings)

    def forward(self, x):  # (B, T, C) -> (B, T, C)
        middle = self.attn(self.ln_1(x), x)
        return self.mlp(self.ln_2(middle), middle)

    def backward(self, dy):  # (B, T, C) -> (B, T, C)
        dmiddle = self.ln_2.backward(self.mlp.backward(dy), dy)
        return self.ln_1.backward(self.attn.backward(dmiddle), dmiddle)


class GPT(Layer):
    """The model of `config` on `device`.

    `logits, loss = model(idx, targets)`: ids (B, T) and the ids that follow each, (B, T), to logits (B, T, V) and
    their mean cross-entropy in nats; `loss` is None without targets, and targets of -100 do not count. The logits
    belong to the caller. `model.backward()` adds the gradient of that loss to every parameter's `grad`. Ids may be
    NumPy arrays or lists. Raises ValueError for a sequence that is empty or longer than block_size, or an id outside
    the vocabulary.
    """

    def __init__(self, config: GPTConfig, device: Device):
        check_device(device)
        self.config, self.device = config, device
        if device.name != "numpy":
            self._check_heads()
        self.rng = RNG(device.seed)
        self.wte = Embedding(config.vocab_size, config.n_embd, device=device, std=STD, stream=0)
        self.wpe = None
        if config.position == "learned":
            self.wpe = PositionEmbedding(config.block_size, config.n_embd, device=device, std=STD, stream=1)
        self.dropout = Dropout(config.dropout, device=device, rng=self.rng)
        self.h = [Block(config, device, self.rng, number) for number in range(config.n_layer)]
        share_scratch(self.h)
        self.ln_f = norm_of(config, device)
        tied = self.wte if config.tie_weights else None
        self.lm_head = LMHead(config.vocab_size, config.n_embd, device=device, tied=tied, std=STD, stream=2)
        self.loss = CrossEntropy()

    def _check_heads(self) -> None:
        from nanograd.kernels.attention import check_heads

        try:
            check_heads(self.device, self.config.head_channels)
        except ValueError as error:
            fewer = "" if self.device.dtype.itemsize < 8 else ", or --dtype float32"
            raise UsageError(f"{error}; take a larger --n_head or a smaller --n_embd{fewer}") from None

    def forward(self, idx, targets=None, count: int | None = None, keep_logits: bool = True):
        """`count`: the positions that the loss is a mean over, where this batch is a part of a larger one. Ids on a GPU
        are then taken to be checked.

        Without `keep_logits` a loss is all that is wanted, and None comes in place of logits.
        """
        V, checked = self.config.vocab_size, count is not None
        idx = self.device.ids(idx, below=V, checked=checked)
        if idx.ndim != 2 or not 0 < idx.shape[1] <= self.config.block_size or not len(idx):
            raise ValueError(
                f"idx must be (B, T) with T from 1 to block_size {self.config.block_size}, not {tuple(idx.shape)}"
            )
        with self._weights_of_products():
            x = self.dropout(self.embed(idx))  # (B, T, C)
            for block in self.h:
                x = block(x)
            logits = self.lm_head(self.ln_f(x))  # (B, T, V)
        if targets is None:
            return logits.copy(), None  # the layer's own array is overwritten by its next forward pass
        targets = self.device.ids(targets, below=V, ignored=IGNORED, checked=checked)
        if targets.shape != idx.shape:
            raise ValueError(f"targets have shape {tuple(targets.shape)}, idx {tuple(idx.shape)}")
        kept = logits.copy() if keep_logits else None
        return kept, self.loss(logits, targets, count, inplace=True, checked=checked)

    def backward(self) -> None:
        dx = self.ln_f.backward(self.lm_head.backward(self.loss.backward()))
        for block in reversed(self.h):
            dx = block.backward(dx)
        dx = self.dropout.backward(dx)
        self.wte.backward(dx if self.wpe is None else self.wpe.backward(dx))

    def _weights_of_products(self):
        """Inside, all matrices of products are there as those take them. Where they are narrower than the parameters,
        and these lie side by side for an optimiser, that saves a launch for each."""
        if self.device.dtype == self.device.parameter_dtype or not hasattr(self, "_arenas"):
            return contextlib.nullcontext()
        return rounded_together(self, self._matrices, self.device.dtype)

    @functools.cached_property
    def _matrices(self) -> set[str]:
        """The names of the parameters that products take."""
        taken = {id(layer.weight) for _, layer in self.named_layers() if isinstance(layer, Linear | LMHead)}
        return {name for name, parameter in self.named_parameters() if id(parameter) in taken}

    def embed(self, ids):  # (B, T) -> (B, T, C)
        """What the first block is given, but for dropout."""
        x = self.wte(ids, checked=True)
        return x if self.wpe is None else self.wpe(x)

    def save(self, folder: str | os.PathLike, tokenizer=None) -> None:
        """Write the weights, as they are, and the config into a folder, which is made; `gpt.load(folder)` reads them.

            model.safetensors    the parameters, in the model's dtype
            model.json           the fields of GPTConfig
            tokenizer.json, ...  the tokenizer's own files, if there is one

        Each file is there whole or not at all; model.json, which makes the folder a model's, is written last.
        Raises RunError if the disk fails, UsageError for a folder that holds a run, or a tokenizer of another size.
        """
        folder = Path(folder)
        if tokenizer is not None and tokenizer.vocab_size != self.config.vocab_size:
            raise UsageError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {self.config.vocab_size}")
        if (folder / "config.toml").exists() or (folder / "checkpoints").exists():
            raise UsageError(f"{folder} holds a run: save the model in a folder of its own")
        make_folder(folder)
        with explained("write", folder):
            for old in (SHAPE, "tokenizer.json"):  # so that what is left after a failure is never read as a model
                (folder / old).unlink(missing_ok=True)
        with atomic_file(folder / WEIGHTS) as file:
            write_safetensors(file, self.state_dict(copy=False))
        if tokenizer is not None:
            with explained("write", folder):
                tokenizer.save(folder)
        write_text(folder / SHAPE, json.dumps(asdict(self.config), indent=1) + "\n")

    def __setstate__(self, state: dict) -> None:  # after pickle
        vars(self).update(state)
        share_scratch(self.h)

    def n_parameters(self) -> int:
        return sum(parameter.value.size for parameter in self.parameters())

    def _repr_html_(self) -> str:
        """A table of the parameters for a notebook; those that are alike in several blocks share a row."""
        alike = {}  # (name with * for the block's number, shape) -> the parameters
        for name, parameter in self.named_parameters():
            key = re.sub(r"^h\.\d+", "h.*", name), parameter.shape
            alike.setdefault(key, []).append(parameter.value)
        rows = [
            (name, f"{len(values)} × " * (len(values) > 1) + str(shape), sum(value.size for value in values))
            for (name, shape), values in alike.items()
        ]
        n_bytes = sum(parameter.value.nbytes for parameter in self.parameters())
        rows.append((f"total, {n_bytes / 1e6:,.1f} MB", "", self.n_parameters()))
        config = self.config
        caption = (
            f"GPT on {self.device.name}: {config.n_layer} blocks, {config.n_head} heads, {config.n_embd} channels, "
            f"context {config.block_size}, vocabulary {config.vocab_size:,}"
        )
        return html.table(["parameter", "shape", "numbers"], rows, caption)
