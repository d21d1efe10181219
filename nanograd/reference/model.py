"""Block and GPT: the layers put together, forward and backward.

    x  = wte[ids] + wpe[0 … T-1]                         tokens and positions
    x  = x + attn(ln_1(x));  x = x + mlp(ln_2(x))        in each block
    logits = lm_head(ln_f(x));  loss = cross_entropy(logits, targets)

Backward through a residual connection y = x + f(x): x acts on y directly and through f, and the two add up:

    dx = dy + f_backward(dy)

`p` holds the parameters by GPT-2's names, {"h.0.ln_1.weight": array, …}; the gradients have the same names and shapes.
"""

import numpy as np

from nanograd.reference.attention import self_attention, self_attention_backward
from nanograd.reference.cross_entropy import cross_entropy, cross_entropy_backward
from nanograd.reference.embedding import embedding, embedding_backward
from nanograd.reference.linear import linear, linear_backward
from nanograd.reference.mlp import mlp, mlp_backward
from nanograd.reference.normalization import layernorm, layernorm_backward

LN_1, LN_2, LN_F = ((f"{ln}.weight", f"{ln}.bias") for ln in ("ln_1", "ln_2", "ln_f"))
ATTN = "attn.c_attn.weight", "attn.c_proj.weight", "attn.c_proj.bias"
MLP = "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"


def new_parameters(V, T, C, n_layer, rng):  # for a vocabulary of V, a context of T -> p
    """Small random matrices, gains of 1, biases of 0."""
    sizes = (C,), (C,), (C, 3 * C), (C, C), (C,), (C,), (C,), (C, 4 * C), (4 * C,), (4 * C, C), (C,)
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C)}
    for i in range(n_layer):
        shapes |= zip((f"h.{i}.{name}" for name in LN_1 + ATTN + LN_2 + MLP), sizes, strict=True)
    shapes |= {"ln_f.weight": (C,), "ln_f.bias": (C,), "lm_head.weight": (V, C)}
    gain = {name: 1.0 if name.endswith("weight") else 0.0 for name in shapes}
    return {n: 0.02 * rng.standard_normal(s) if len(s) == 2 else np.full(s, gain[n]) for n, s in shapes.items()}


def take(p, names):
    return [p[name] for name in names]


def block(x, p, n_head):  # (B, T, C), the parameters of this block -> (B, T, C)
    middle = x + self_attention(layernorm(x, *take(p, LN_1)), *take(p, ATTN), n_head)
    return middle + mlp(layernorm(middle, *take(p, LN_2)), *take(p, MLP))


def block_backward(dy, x, p, n_head):  # -> dx (B, T, C), {name: gradient}
    normed_1 = layernorm(x, *take(p, LN_1))  # (B, T, C)
    middle = x + self_attention(normed_1, *take(p, ATTN), n_head)  # (B, T, C)
    normed_2 = layernorm(middle, *take(p, LN_2))  # (B, T, C)

    dnormed_2, *dmlp = mlp_backward(dy, normed_2, *take(p, MLP))
    dbranch, *dln_2 = layernorm_backward(dnormed_2, middle, *take(p, LN_2))
    dmiddle = dy + dbranch  # directly, and through the MLP

    dnormed_1, *dattn = self_attention_backward(dmiddle, normed_1, *take(p, ATTN), n_head)
    dbranch, *dln_1 = layernorm_backward(dnormed_1, x, *take(p, LN_1))
    dx = dmiddle + dbranch  # directly, and through attention
    return dx, dict(zip(LN_1 + ATTN + LN_2 + MLP, [*dln_1, *dattn, *dln_2, *dmlp], strict=True))


def blocks(p):  # -> the parameters of each block, their names without "h.i."
    n_layer = sum(name.endswith("ln_1.weight") for name in p)
    heads = [f"h.{i}." for i in range(n_layer)]
    return [{n.removeprefix(head): value for n, value in p.items() if n.startswith(head)} for head in heads]


def gpt(ids, p, n_head):  # (B, T) -> logits (B, T, V), the inputs of all blocks and of ln_f
    inputs = [embedding(ids, p["wte.weight"]) + p["wpe.weight"][: ids.shape[1]]]  # (B, T, C) each
    for own in blocks(p):
        inputs = [*inputs, block(inputs[-1], own, n_head)]
    return linear(layernorm(inputs[-1], *take(p, LN_F)), p["lm_head.weight"].T), inputs


def gpt_loss(ids, targets, p, n_head):  # (B, T), (B, T) -> (); the mean over all positions, in nats
    return cross_entropy(gpt(ids, p, n_head)[0], targets)


def gpt_backward(dloss, ids, targets, p, n_head):  # -> {name: gradient of the loss}
    logits, inputs = gpt(ids, p, n_head)
    dlogits = cross_entropy_backward(dloss, logits, targets)  # (B, T, V)
    dy, dhead, _ = linear_backward(dlogits, layernorm(inputs[-1], *take(p, LN_F)), p["lm_head.weight"].T)
    dx, *dln_f = layernorm_backward(dy, inputs[-1], *take(p, LN_F))  # (B, T, C)
    grads = {"lm_head.weight": dhead.T, **dict(zip(LN_F, dln_f, strict=True))}
    for i, own in reversed(list(enumerate(blocks(p)))):
        dx, found = block_backward(dx, inputs[i], own, n_head)
        grads |= {f"h.{i}.{name}": gradient for name, gradient in found.items()}
    unread = np.zeros((len(p["wpe.weight"]) - ids.shape[1], dx.shape[-1]))  # positions after the T of these ids
    grads |= {"wpe.weight": np.concatenate([dx.sum(0), unread])}
    grads |= {"wte.weight": embedding_backward(dx, ids, p["wte.weight"])}
    return {name: grads[name] for name in p}
