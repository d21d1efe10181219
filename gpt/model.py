"""A GPT: embeddings, a stack of pre-LayerNorm blocks, a final LayerNorm, a head (GPT-2's layout and names).

    x = wte[ids] + wpe[positions]
    x = x + attn(ln_1(x));  x = x + mlp(ln_2(x))         in each block
    logits = lm_head(ln_f(x))

Backward through a residual x + f(x): the gradient reaches x by both ways and adds up, dx = dy + f'(dy).
"""

import math

from gpt.config.options import GPTConfig
from gpt.errors import UsageError
from nanograd import Device
from nanograd.device.rng import RNG
from nanograd.layers.attention import CausalSelfAttention
from nanograd.layers.cross_entropy import IGNORED, CrossEntropy
from nanograd.layers.dropout import Dropout
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from nanograd.layers.layer import Layer, share_scratch
from nanograd.layers.layernorm import LayerNorm
from nanograd.layers.mlp import MLP

STD = 0.02  # of the weights at the start, as in GPT-2


class Block(Layer):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x)). `number` counts the blocks from 0."""

    def __init__(self, config: GPTConfig, device: Device, rng: RNG, number: int):
        # Each block adds to the residual stream twice; the division keeps its variance in bounds at the start.
        settings = {
            "device": device,
            "dropout": config.dropout,
            "rng": rng,
            "bias": config.bias,
            "proj_std": STD / math.sqrt(2 * config.n_layer),
        }
        stream = 10 + 4 * number
        self.ln_1 = LayerNorm(config.n_embd, config.bias, device=device)
        self.attn = CausalSelfAttention(
            config.n_embd, config.n_head, qkv_bias=config.qkv_bias, stream=stream, **settings
        )
        self.ln_2 = LayerNorm(config.n_embd, config.bias, device=device)
        self.mlp = MLP(config.n_embd, activation=config.activation, stream=stream + 2, **settings)

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
        self.config, self.device = config, device
        if device.name != "numpy":
            self._check_heads()
        self.rng = RNG(device.seed)
        self.wte = Embedding(config.vocab_size, config.n_embd, device=device, std=STD, stream=0)
        self.wpe = PositionEmbedding(config.block_size, config.n_embd, device=device, std=STD, stream=1)
        self.dropout = Dropout(config.dropout, device=device, rng=self.rng)
        self.h = [Block(config, device, self.rng, number) for number in range(config.n_layer)]
        share_scratch(self.h)
        self.ln_f = LayerNorm(config.n_embd, config.bias, device=device)
        tied = self.wte if config.tie_weights else None
        self.lm_head = LMHead(config.vocab_size, config.n_embd, device=device, tied=tied, std=STD, stream=2)
        self.loss = CrossEntropy()

    def _check_heads(self) -> None:
        from nanograd.kernels.attention import check_heads

        try:
            check_heads(self.device, self.config.n_embd // self.config.n_head)
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
        x = self.dropout(self.wpe(self.wte(idx)))  # (B, T, C)
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
        self.wte.backward(self.wpe.backward(self.dropout.backward(dx)))

    def __setstate__(self, state: dict) -> None:  # after pickle
        vars(self).update(state)
        share_scratch(self.h)

    def n_parameters(self) -> int:
        return sum(parameter.value.size for parameter in self.parameters())
