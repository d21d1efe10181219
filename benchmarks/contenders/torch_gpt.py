"""The same GPT in PyTorch, as a good PyTorch user would write it. For comparison only; the product has no torch."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from gpt.config.options import GPTConfig


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, sdpa: bool):
        super().__init__()
        self.n_head, self.sdpa = config.n_head, sdpa
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.qkv_bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        T = config.block_size
        self.register_buffer("mask", torch.tril(torch.ones(T, T, dtype=torch.bool)), persistent=False)

    def forward(self, x, cache=None):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2)
        )
        if cache is not None:  # (keys, values, position): preallocated, as for the fastest generation
            keys, values, start = cache
            keys[:, :, start : start + T] = k
            values[:, :, start : start + T] = v
            k, v = keys[:, :, : start + T], values[:, :, : start + T]
        if self.sdpa:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        else:
            weights = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
            if T > 1:
                weights = weights.masked_fill(~self.mask[:T, :T], float("-inf"))
            y = F.softmax(weights, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, config: GPTConfig, sdpa: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = Attention(config, sdpa)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.act = nn.ReLU() if config.activation == "relu" else nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x, cache=None):
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.c_proj(self.act(self.c_fc(self.ln_2(x))))


class TorchGPT(nn.Module):
    block, norm = Block, staticmethod(lambda config: nn.LayerNorm(config.n_embd, bias=config.bias))

    def __init__(self, config: GPTConfig, sdpa: bool = True):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        self.h = nn.ModuleList(self.block(config, sdpa) for _ in range(config.n_layer))
        self.ln_f = self.norm(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_weights:
            self.lm_head.weight = self.wte.weight
        for parameter in self.parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, idx, targets=None, caches=None, start=0):
        x = self.wte(idx)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(start, start + idx.shape[1]))
        for number, block in enumerate(self.h):
            x = block(x, None if caches is None else (*caches[number], start))
        x = self.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, -1])
        logits = self.lm_head(x)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def adamw(self, lr: float = 3e-4):
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
