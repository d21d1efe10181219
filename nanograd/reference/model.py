"""Block and GPT: the layers put together, forward and backward.

    x  = wte[ids] + wpe[0 … T-1]                         tokens and positions
    x  = x + attn(ln_1(x));  x = x + mlp(ln_2(x))        in each block
    logits = lm_head(ln_f(x));  loss = cross_entropy(logits, targets)

Backward through a residual connection y = x + f(x): x acts on y twice, directly and through f. The two add up:

    dx = dy + f_backward(dy)

`p` holds the parameters by GPT-2's names, {"h.0.ln_1.weight": array, …}; the gradients have the same names and shapes.
A parameter that is used in two places receives the sum of both gradients.
"""

import numpy as np

from nanograd.reference.attention import self_attention, self_attention_backward
from nanograd.reference.cross_entropy import cross_entropy, cross_entropy_backward
from nanograd.reference.embedding import embedding, embedding_backward
from nanograd.reference.linear import linear, linear_backward
from nanograd.reference.mlp import mlp, mlp_backward
from nanograd.reference.normalization import layernorm, layernorm_backward

LN_1 = "ln_1.weight", "ln_1.bias"
ATTN = "attn.c_attn.weight", "attn.c_proj.weight", "attn.c_proj.bias"
LN_2 = "ln_2.weight", "ln_2.bias"
MLP = "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"


def new_parameters(V, T, C, n_layer, rng):
    """Those of a GPT with a vocabulary of V, a context of T and C channels: small matrices, gains of 1, biases of 0."""
    p = {"wte.weight": normal(rng, V, C), "wpe.weight": normal(rng, T, C)}
    for i in range(n_layer):
        ln_1, ln_2 = (np.ones(C), np.zeros(C)), (np.ones(C), np.zeros(C))
        attn = normal(rng, C, 3 * C), normal(rng, C, C), np.zeros(C)
        mlp = normal(rng, C, 4 * C), np.zeros(4 * C), normal(rng, 4 * C, C), np.zeros(C)
        names = [f"h.{i}.{name}" for name in LN_1 + ATTN + LN_2 + MLP]
        p |= zip(names, [*ln_1, *attn, *ln_2, *mlp], strict=True)
    return p | {"ln_f.weight": np.ones(C), "ln_f.bias": np.zeros(C), "lm_head.weight": normal(rng, V, C)}


def normal(rng, *shape):
    return 0.02 * rng.standard_normal(shape)


def block(x, p, n_head):  # (B, T, C), the parameters of this block -> (B, T, C)
    middle = x + self_attention(layernorm(x, *(p[n] for n in LN_1)), *(p[n] for n in ATTN), n_head)
    return middle + mlp(layernorm(middle, *(p[n] for n in LN_2)), *(p[n] for n in MLP))


def block_backward(dy, x, p, n_head):  # -> dx (B, T, C), {name: gradient}
    normed_1 = layernorm(x, *(p[n] for n in LN_1))  # (B, T, C)
    middle = x + self_attention(normed_1, *(p[n] for n in ATTN), n_head)  # (B, T, C)
    normed_2 = layernorm(middle, *(p[n] for n in LN_2))  # (B, T, C)

    dnormed_2, *dmlp = mlp_backward(dy, normed_2, *(p[n] for n in MLP))
    dbranch, *dln_2 = layernorm_backward(dnormed_2, middle, *(p[n] for n in LN_2))
    dmiddle = dy + dbranch  # directly, and through the MLP

    dnormed_1, *dattn = self_attention_backward(dmiddle, normed_1, *(p[n] for n in ATTN), n_head)
    dbranch, *dln_1 = layernorm_backward(dnormed_1, x, *(p[n] for n in LN_1))
    dx = dmiddle + dbranch  # directly, and through attention
    return dx, dict(zip(LN_1 + ATTN + LN_2 + MLP, [*dln_1, *dattn, *dln_2, *dmlp], strict=True))


def of_block(p, i):
    """The parameters of block i, their names without "h.i."."""
    return {name.removeprefix(f"h.{i}."): value for name, value in p.items() if name.startswith(f"h.{i}.")}


def count_blocks(p):
    return sum(name.endswith("ln_1.weight") for name in p)


def gpt(ids, p, n_head):  # (B, T) -> logits (B, T, V), the inputs of all blocks and of ln_f
    x = embedding(ids, p["wte.weight"]) + p["wpe.weight"][: ids.shape[1]]  # (B, T, C)
    inputs = [x]
    for i in range(count_blocks(p)):
        inputs = [*inputs, block(inputs[-1], of_block(p, i), n_head)]
    return linear(layernorm(inputs[-1], p["ln_f.weight"], p["ln_f.bias"]), p["lm_head.weight"].T), inputs


def gpt_loss(ids, targets, p, n_head):  # (B, T), (B, T) -> (); the mean over all positions, in nats
    return cross_entropy(gpt(ids, p, n_head)[0], targets)


def gpt_backward(dloss, ids, targets, p, n_head):  # -> {name: gradient of the loss}
    T, C = ids.shape[1], p["wte.weight"].shape[1]
    logits, inputs = gpt(ids, p, n_head)
    y = layernorm(inputs[-1], p["ln_f.weight"], p["ln_f.bias"])  # (B, T, C)
    grads = {}

    dlogits = cross_entropy_backward(dloss, logits, targets)  # (B, T, V)
    dy, dhead, _ = linear_backward(dlogits, y, p["lm_head.weight"].T)
    dx, grads["ln_f.weight"], grads["ln_f.bias"] = layernorm_backward(dy, inputs[-1], p["ln_f.weight"], p["ln_f.bias"])
    for i in reversed(range(count_blocks(p))):
        dx, found = block_backward(dx, inputs[i], of_block(p, i), n_head)
        grads |= {f"h.{i}.{name}": gradient for name, gradient in found.items()}
    grads["lm_head.weight"] = dhead.T  # (V, C)
    grads["wte.weight"] = embedding_backward(dx, ids, p["wte.weight"])  # (V, C)
    grads["wpe.weight"] = np.concatenate([dx.sum(0), np.zeros((len(p["wpe.weight"]) - T, C))])  # (block_size, C)
    return {name: grads[name] for name in p}
