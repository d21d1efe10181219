"""The same Llama in PyTorch, as a good PyTorch user would write it. For comparison only; the product has no torch."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.contenders.torch_gpt import TorchGPT
from gpt.config.options import GPTConfig


def tables(T: int, dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:  # -> cos and sin, (T, 1, dim)
    angles = torch.outer(torch.arange(T), theta ** (-torch.arange(0, dim, 2) / dim)).repeat(1, 2)[:, None]
    return angles.cos(), angles.sin()


def rotate(
    x, cos, sin
):  # (B, T, heads, D), as in Hugging Face's Llama: on a CPU a fifth of the time of complex numbers
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Attention(nn.Module):
    """Queries, keys and values are one product; SDPA shares the heads of keys and values, or they are repeated."""

    def __init__(self, config: GPTConfig, sdpa: bool):
        super().__init__()
        self.H, self.K, self.D, self.sdpa = config.n_head, config.kv_heads, config.head_channels, sdpa
        self.c_attn = nn.Linear(config.n_embd, (self.H + 2 * self.K) * self.D, bias=False)
        self.c_proj = nn.Linear(self.H * self.D, config.n_embd, bias=False)
        T = config.block_size
        self.register_buffer("mask", torch.tril(torch.ones(T, T, dtype=torch.bool)), persistent=False)
        for name, table in zip(("cos", "sin"), tables(T, self.D, config.rope_theta), strict=True):
            self.register_buffer(name, table, persistent=False)

    def forward(self, x):
        B, T, _ = x.shape
        qk, v = self.c_attn(x).view(B, T, -1, self.D).split([self.H + self.K, self.K], dim=2)
        q, k = rotate(qk, self.cos[:T], self.sin[:T]).split([self.H, self.K], dim=2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if self.sdpa:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.K < self.H)
        else:
            k, v = (part.repeat_interleave(self.H // self.K, dim=1) for part in (k, v))
            weights = (q @ k.transpose(-2, -1)) * self.D**-0.5
            y = F.softmax(weights.masked_fill(~self.mask[:T, :T], float("-inf")), dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, -1))


class Block(nn.Module):
    """The gate and what it lets through are one product."""

    def __init__(self, config: GPTConfig, sdpa: bool):
        super().__init__()
        self.ln_1, self.ln_2 = (nn.RMSNorm(config.n_embd, eps=config.norm_eps) for _ in range(2))
        self.attn = Attention(config, sdpa)
        self.c_fc = nn.Linear(config.n_embd, 2 * config.inner_channels, bias=False)
        self.c_proj = nn.Linear(config.inner_channels, config.n_embd, bias=False)

    def forward(self, x, cache=None):
        x = x + self.attn(self.ln_1(x))
        gate, up = self.c_fc(self.ln_2(x)).chunk(2, dim=-1)
        return x + self.c_proj(F.silu(gate) * up)


class TorchLlama(TorchGPT):
    """For training alone."""

    block, norm = Block, staticmethod(lambda config: nn.RMSNorm(config.n_embd, eps=config.norm_eps))
