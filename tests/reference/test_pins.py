"""Every fast layer, and 20 steps of the whole model, are the plain model's to 1e-12."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.sampling import filters
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.optim.muon import Muon
from nanograd.optim.schedule import warmup_cosine
from nanograd.reference import activations, adamw, attention, embedding, model, normalization, rope
from nanograd.reference.cross_entropy import cross_entropy, cross_entropy_backward
from nanograd.reference.linear import linear, linear_backward
from nanograd.reference.mlp import mlp, mlp_backward, swiglu, swiglu_backward
from nanograd.reference.muon import muon
from nanograd.reference.sampling import sample, top_k, top_p
from nanograd.reference.softmax import softmax
from nanograd.reference.training import random_batch, training_step
from tests.support.battery import BATTERY, Sizes

BOUND = 1e-12


def weight_and_bias(layer):
    """[weight, bias], zeros where the layer has none."""
    bias = np.zeros(layer.weight.shape[1]) if layer.bias is None else layer.bias.value
    return [layer.weight.value, bias]


def named(names, gradients):
    return dict(zip(names, gradients, strict=True))


# One function for each layer: (layer, inputs, dy) -> output, {name: gradient}, "dx" being the input's


def plain_linear(layer, x, dy):
    W, b = weight_and_bias(layer)
    return linear(x, W, b), named(["dx", "weight", "bias"], linear_backward(dy, x, W, b))


def plain_relu(layer, x, dy):
    return activations.relu(x), {"dx": activations.relu_backward(dy, x)}


def plain_gelu(layer, x, dy):
    return activations.gelu(x), {"dx": activations.gelu_backward(dy, x)}


def plain_layernorm(layer, x, dy):
    bias = 0.0 if layer.bias is None else layer.bias.value
    given = x, layer.weight.value, bias, layer.eps
    return normalization.layernorm(*given), named(
        ["dx", "weight", "bias"], normalization.layernorm_backward(dy, *given)
    )


def plain_rmsnorm(layer, x, dy):
    weight = np.ones(x.shape[-1]) if layer.weight is None else layer.weight.value
    given = x, weight, layer.eps
    return normalization.rmsnorm(*given), named(["dx", "weight"], normalization.rmsnorm_backward(dy, *given))


def plain_relu2(layer, x, dy):
    return activations.relu2(x), {"dx": activations.relu2_backward(dy, x)}


def rotated(layer, x, backward=False):  # (B, heads, T, D) -> the same
    """As the RoPE `layer` does; in its interleaved layout channels change places before and after."""
    D = x.shape[-1]
    order = np.arange(D) if layer.layout == "half" else np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
    phi = np.arange(x.shape[-2])[:, None] * np.array(layer.frequencies)
    turn = rope.rotate_backward if backward else rope.rotate
    turned = turn(x[..., order], x, phi) if backward else turn(x[..., order], phi)
    return turned[..., np.argsort(order)]


def plain_rope(layer, x, dy):  # (B, T, heads, D)
    y, dx = (rotated(layer, a.swapaxes(1, 2), back).swapaxes(1, 2) for a, back in ((x, False), (dy, True)))
    return y, {"dx": dx}


def plain_attention(layer, qkv, dy):
    """In H heads of queries and K of keys and values."""
    H = layer.n_head
    K = getattr(layer, "n_kv_head", H)
    heads = attention.split_heads(qkv, H + 2 * K)  # (B, H + 2K, T, D)
    q, k, v = heads[:, :H], heads[:, H : H + K], heads[:, H + K :]
    shared = [attention.share_heads(part, H // K) for part in (k, v)]
    y = attention.merge_heads(attention.attention(q, *shared))
    dq, *dshared = attention.attention_backward(attention.split_heads(dy, H), q, *shared)
    dkv = [attention.share_heads_backward(d, part, H // K) for d, part in zip(dshared, (k, v), strict=True)]
    return y, {"dx": attention.merge_heads(np.concatenate([dq, *dkv], axis=1))}


def plain_self_attention(layer, x, dy):
    if getattr(layer, "rope", None) or getattr(layer, "q_norm", None) or layer.c_proj.weight.shape[0] != x.shape[-1]:
        return later_self_attention(layer, x, dy)
    if getattr(layer.heads, "n_kv_head", layer.heads.n_head) != layer.heads.n_head:
        return later_self_attention(layer, x, dy)
    W, b = weight_and_bias(layer.c_attn)
    x1, W1 = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1), np.concatenate([W, b[None]])  # x W + b = x1 W1
    given = x1, W1, *weight_and_bias(layer.c_proj), layer.heads.n_head
    dx1, dW1, *dproj = attention.self_attention_backward(dy, *given)
    names = ["dx", "c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias"]
    return attention.self_attention(*given), named(names, [dx1[..., :-1], dW1[:-1], dW1[-1], *dproj])


def later_self_attention(layer, x, dy):
    """With grouped heads, and QK-norm and RoPE where the layer has them."""
    H, K = layer.heads.n_head, layer.heads.n_kv_head
    W, b = weight_and_bias(layer.c_attn)
    heads = attention.split_heads(linear(x, W, b), H + 2 * K)
    parts = {"q_norm": heads[:, :H], "k_norm": heads[:, H : H + K]}
    before, gradients = dict(parts), {}
    for name, part in parts.items():
        norm = getattr(layer, name)
        weight = np.ones(part.shape[-1]) if norm is None or norm.weight is None else norm.weight.value
        parts[name] = part if norm is None else normalization.rmsnorm(part, weight, norm.eps)
        parts[name] = rotated(layer.rope, parts[name]) if layer.rope else parts[name]
    qkv = attention.merge_heads(np.concatenate([*parts.values(), heads[:, H + K :]], axis=1))
    W2, b2 = weight_and_bias(layer.c_proj)
    do, gradients["c_proj.weight"], gradients["c_proj.bias"] = linear_backward(
        dy, plain_attention(layer.heads, qkv, np.zeros((*x.shape[:2], len(W2))))[0], W2, b2
    )
    y, inner = plain_attention(layer.heads, qkv, do)
    dheads = attention.split_heads(inner["dx"], H + 2 * K)
    dparts = {"q_norm": dheads[:, :H], "k_norm": dheads[:, H : H + K]}
    for name, dpart in dparts.items():
        norm = getattr(layer, name)
        dpart = rotated(layer.rope, dpart, backward=True) if layer.rope else dpart
        if norm is not None:
            weight = np.ones(dpart.shape[-1]) if norm.weight is None else norm.weight.value
            dpart, gradients[f"{name}.weight"] = normalization.rmsnorm_backward(dpart, before[name], weight, norm.eps)
        dparts[name] = dpart
    dqkv = attention.merge_heads(np.concatenate([*dparts.values(), dheads[:, H + K :]], axis=1))
    gradients["dx"], gradients["c_attn.weight"], gradients["c_attn.bias"] = linear_backward(dqkv, x, W, b)
    return linear(y, W2, b2), gradients


KINDS = {"ReLU": "relu", "GELU": "gelu", "ReLUSquared": "relu2"}


def plain_mlp(layer, x, dy):
    kind = KINDS[type(layer.activation).__name__]
    f, f_backward = getattr(activations, kind), getattr(activations, f"{kind}_backward")
    given = x, *weight_and_bias(layer.c_fc), *weight_and_bias(layer.c_proj)
    names = ["dx", "c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias"]
    return mlp(*given, f), named(names, mlp_backward(dy, *given, f, f_backward))


def plain_swiglu(layer, gate, up, dy):
    dgate, dup = activations.silu_backward(dy * up, gate), dy * activations.silu(gate)
    return activations.silu(gate) * up, {"dx": (dgate, dup)}


def plain_gated_mlp(layer, x, dy):
    parts = [layer.c_gate, layer.c_fc]
    if parts[0].bias is not None:
        return None  # the plain one, as Llama's, has no biases
    given = x, *(part.weight.value for part in (*parts, layer.c_proj))
    names = ["dx", "c_gate.weight", "c_fc.weight", "c_proj.weight"]
    return swiglu(*given), named(names, swiglu_backward(dy, *given))


def plain_embedding(layer, ids, dy):
    W = layer.weight.value
    return embedding.embedding(ids, W), {"weight": embedding.embedding_backward(dy, ids, W)}


def plain_position_embedding(layer, x, dy):
    T, rest = x.shape[1], layer.weight.shape[0] - x.shape[1]
    dweight = np.concatenate([dy.sum(0), np.zeros((rest, x.shape[2]))])
    return x + layer.weight.value[:T], {"dx": dy, "weight": dweight}


def plain_lm_head(layer, x, dy):
    W = layer.weight.value
    dx, dW, _ = linear_backward(dy, x, W.T)
    return linear(x, W.T), {"dx": dx, "weight": dW.T}


def plain_block(layer, x, dy):
    article = type(layer.ln_1).__name__ == "LayerNorm" and type(layer.mlp.activation).__name__ == "ReLU"
    if not article or layer.attn.c_attn.bias is not None:
        return None  # the plain block is the article's; the functions above have the other choices
    p = {name: value.value for name, value in layer.named_parameters()}
    C = x.shape[-1]
    names = model.LN_1 + model.ATTN + model.LN_2 + model.MLP
    p = {name: p[name] if name in p else np.zeros(4 * C if "c_fc" in name else C) for name in names}
    dx, gradients = model.block_backward(dy, x, p, layer.attn.heads.n_head)
    return model.block(x, p, layer.attn.heads.n_head), {"dx": dx} | gradients


PLAIN = {
    "Linear": plain_linear,
    "ResidualLinear": plain_linear,
    "ReLU": plain_relu,
    "ReLUSquared": plain_relu2,
    "RMSNorm": plain_rmsnorm,
    "RoPE": plain_rope,
    "SwiGLU": plain_swiglu,
    "GatedMLP": plain_gated_mlp,
    "GELU": plain_gelu,
    "LayerNorm": plain_layernorm,
    "Attention": plain_attention,
    "CausalSelfAttention": plain_self_attention,
    "MLP": plain_mlp,
    "Embedding": plain_embedding,
    "PositionEmbedding": plain_position_embedding,
    "LMHead": plain_lm_head,
    "Block": plain_block,
}


def assert_same(found, expected, what):
    scale = max(1.0, np.abs(expected).max(initial=0))
    assert np.shape(found) == np.shape(expected), what
    assert np.abs(found - expected).max(initial=0) <= BOUND * scale, what


def spread(layer, rng):
    for _, p in layer.named_parameters():
        p.value[...] += 0.5 * rng.standard_normal(p.shape)


@pytest.mark.parametrize("name", PLAIN)
@given(st.data())
def test_fast_layer_is_the_plain_one(name, data):
    layer, inputs = BATTERY[name](Sizes(data.draw))
    layer.eval()
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    spread(layer, rng)
    if name == "ResidualLinear":
        h, n_out = inputs[0], layer.weight.shape[1]
        x = rng.standard_normal((*h.shape[:-1], n_out))
        np.testing.assert_allclose(layer(h, x), x + linear(h, *weight_and_bias(layer)), rtol=BOUND, atol=BOUND)
    y = np.array(layer(*inputs))
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(dy.copy())
    found = {n: p.grad for n, p in layer.named_parameters()} | ({} if dx is None else {"dx": np.array(dx)})
    plain = PLAIN[name](layer, *inputs, dy)
    if plain is None:
        return
    assert_same(y, plain[0], "output")
    for what, gradient in found.items():
        assert_same(gradient, np.array(plain[1][what]), what)


@given(st.data())
def test_fast_cross_entropy_is_the_plain_one(data):
    layer, (logits, targets) = BATTERY["CrossEntropy"](Sizes(data.draw))
    dloss = data.draw(st.floats(-2, 2))
    assert_same(layer(logits, targets), cross_entropy(logits, targets), "loss")
    assert_same(layer.backward(dloss), cross_entropy_backward(dloss, logits, targets), "dlogits")


def test_every_layer_is_held_against_the_plain_model():
    """But Dropout, which is a product with a mask: tests/layers/test_dropout.py says what that must be."""
    assert set(BATTERY) <= set(PLAIN) | {"CrossEntropy", "Dropout"}


# The whole model

CONFIG = GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=8)
TOKENS = np.random.default_rng(5).integers(0, 13, 200)


def test_names_and_shapes_are_those_of_the_fast_model():
    fast = GPT(CONFIG, Device("numpy", dtype="float64"))
    p = model.new_parameters(13, 8, 8, 2, np.random.default_rng(0))
    assert {name: value.shape for name, value in p.items()} == {n: q.shape for n, q in fast.named_parameters()}


def test_twenty_steps_of_the_whole_model_are_the_plain_ones():
    fast = GPT(CONFIG, Device("numpy", dtype="float64", seed=1))
    spread(fast, np.random.default_rng(3))
    optimizer = AdamW(fast, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    p = fast.state_dict()
    m, v = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))
    rng = np.random.default_rng(4)
    clipped = 0
    for step in range(20):
        idx, targets = random_batch(TOKENS, 3, 8 if step % 2 else 5, rng)
        rate = adamw.learning_rate(step, 3e-2, 3e-3, 5, 20)
        optimizer.lr = warmup_cosine(step, lr=3e-2, min_lr=3e-3, warmup_steps=5, max_steps=20)
        assert rate == pytest.approx(optimizer.lr, rel=1e-14)
        optimizer.zero_grad()
        _, loss = fast(idx, targets)
        fast.backward()
        plain = model.gpt_backward(1.0, idx, targets, p, 2)
        for name, q in fast.named_parameters():
            assert_same(q.grad, plain[name], name)
        clipped += clip_grad_norm(fast, 1.0) > 1
        optimizer.step()
        plain_loss, p, m, v = training_step(p, m, v, step + 1, idx, targets, n_head=2, lr=rate)
        assert_same(loss, plain_loss, "loss")
        for name, q in fast.named_parameters():
            assert_same(q.value, p[name], f"{name} after step {step + 1}")
    assert clipped > 0


def test_batches_are_windows_and_their_targets_come_next():
    idx, targets = random_batch(np.arange(50), 200, 7, np.random.default_rng(0))
    assert idx.shape == targets.shape == (200, 7)
    np.testing.assert_array_equal(targets, idx + 1)
    np.testing.assert_array_equal(idx - idx[:, :1], np.tile(np.arange(7), (200, 1)))
    assert idx.min() == 0 and targets.max() == 49


# Sampling


@given(st.integers(2, 30), st.integers(0, 10_000), st.integers(1, 30), st.floats(0.05, 1.0))
def test_filters_are_the_plain_ones(V, seed, k, p):
    z = np.random.default_rng(seed).integers(-6, 7, V) / 2  # with ties
    np.testing.assert_array_equal(top_k(z, k), filters.top_k(z, k))
    np.testing.assert_array_equal(top_p(z, p), filters.top_p(z, p))


def test_sampling_loop():
    p = model.new_parameters(7, 4, 8, 1, np.random.default_rng(0))
    noise = np.random.default_rng(11)
    p = {name: value + noise.standard_normal(value.shape) for name, value in p.items()}
    fast = GPT(GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=2, n_embd=8), Device("numpy"))
    for name, q in fast.named_parameters():
        q.value[...] = p[name]
    from gpt import generate

    greedy = sample(p, [1, 2], 12, 2, np.random.default_rng(0), temperature=0)
    assert greedy[2:] == list(generate(fast, [1, 2], 12, temperature=0))
    assert len(set(greedy[2:])) > 2
    assert sample(p, [3, 0, 5, 6, 1, 2], 8, 2, None, 0)[6:] == list(
        generate(fast, [3, 0, 5, 6, 1, 2], 8, temperature=0)
    )
    rng = np.random.default_rng(0)
    assert sample(p, [1, 2], 12, 2, rng, k=1) == greedy
    assert sample(p, [1, 2], 12, 2, rng, top=1e-6) == greedy
    drawn = [sample(p, [1], 1, 2, rng)[1] for _ in range(2000)]
    z = model.gpt(np.array([[1]]), p, 2)[0][0, -1]
    expected = filters.softmax(z)
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / 2000, expected, atol=0.05)


def test_softmax():
    s = np.random.default_rng(0).standard_normal(9) * 30
    np.testing.assert_allclose(softmax(s), filters.softmax(s), rtol=1e-14)


def test_twenty_steps_of_muon_are_the_plain_ones():
    fast = GPT(CONFIG, Device("numpy", dtype="float64", seed=1))
    spread(fast, np.random.default_rng(3))
    optimizer = Muon(fast, lr=1e-3, muon_lr=0.02, momentum=0.8, weight_decay=0.01)
    own = {name: p for name, p in fast.named_parameters() if name.startswith("h.") and len(p.shape) == 2}
    parts = {name: 3 if "c_attn" in name else 1 for name in own}  # queries, keys and values each for itself
    plain = {name: np.split(p.value.copy(), parts[name], axis=1) for name, p in own.items()}
    momenta = {name: [np.zeros_like(W) for W in matrices] for name, matrices in plain.items()}
    rng = np.random.default_rng(6)
    for step in range(20):
        optimizer.zero_grad()
        for p in fast.parameters():
            p.grad += rng.standard_normal(p.shape)
        for name, p in own.items():
            gradients = np.split(p.grad, parts[name], axis=1)
            for i, g in enumerate(gradients):
                arrays = plain[name][i], g, momenta[name][i]
                plain[name][i], momenta[name][i] = muon(*arrays, lr=0.02, momentum=0.8, weight_decay=0.01)
        optimizer.step()
        for name, p in own.items():
            expected = np.concatenate(plain[name], axis=1)
            np.testing.assert_allclose(p.value, expected, rtol=BOUND, atol=BOUND, err_msg=f"{name} after {step + 1}")


def test_temperature_and_the_sum_that_reaches_p():
    z = np.log(np.array([0.5, 0.3, 0.1, 0.1]))
    assert np.isfinite(top_p(z, 0.9)).sum() == 3  # in binary the first three make a little less than 0.9
    p = model.new_parameters(5, 4, 8, 1, np.random.default_rng(0))
    p = {name: value + 0.8 * np.random.default_rng(1).standard_normal(value.shape) for name, value in p.items()}
    rng, scores = np.random.default_rng(0), model.gpt(np.array([[1]]), p, 2)[0][0, -1]
    for temperature in (0.5, 2.0):
        drawn = [sample(p, [1], 1, 2, rng, temperature=temperature)[1] for _ in range(1500)]
        expected = filters.softmax(scores / temperature)
        np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 1500, expected, atol=0.05)


def test_every_token_can_be_drawn():
    class Always:
        def __init__(self, number):
            self.random = lambda: number

    p = {name: 0 * value for name, value in model.new_parameters(7, 4, 8, 1, np.random.default_rng(0)).items()}
    assert [sample(p, [1], 1, 2, Always(u))[1] for u in (0.0, 0.15, 0.5, 0.999999)] == [0, 1, 3, 6]
