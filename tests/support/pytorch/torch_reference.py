"""PyTorch's side of reference_cases.py: the same layers, model, optimiser and run, by autograd.

Written with torch.nn.functional and nothing of nanograd's. Weights are stored (in, out) as everywhere here, so a
Linear is `F.linear(x, W.T, b)`.

    python -m tests.support.pytorch.torch_reference        writes tests/support/pytorch/torch_reference.npz anew
"""

import numpy as np
import torch
import torch.nn.functional as F

from tests.support import ROOT
from tests.support.pytorch import reference_cases as cases

torch.set_num_threads(1)


def tensor(array, dtype=torch.float64, grad=False):
    array = torch.tensor(np.asarray(array))
    return array.to(dtype).requires_grad_(grad) if array.is_floating_point() else array


def linear(x, p, name):
    bias = p.get(f"{name}bias")
    return F.linear(x, p[f"{name}weight"].T, bias)


def layer_norm(x, p, name):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}weight"], p.get(f"{name}bias"), 1e-5)


def rms_norm(x, p, name, eps=1e-5):
    return F.rms_norm(x, x.shape[-1:], p.get(f"{name}weight"), eps)


def activate(x, kind):
    if kind == "relu2":
        return F.relu(x).square()
    return F.gelu(x, approximate="tanh") if kind == "gelu" else F.relu(x)


def frequencies(dim, theta=10000.0, config=None):
    """RoPE's, for all pairs, with Llama 3's scaling written as Hugging Face's configuration describes it."""
    f = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if config is None or config.rope_scaling == "none":
        return f
    if config.rope_scaling == "linear":
        return f / config.rope_factor
    low, high = config.rope_low_freq_factor, config.rope_high_freq_factor
    original, waves = config.rope_original_context, 2 * torch.pi / f
    smooth = (original / waves - low) / (high - low)
    between = (1 - smooth) * f / config.rope_factor + smooth * f
    scaled = torch.where(waves > original / low, f / config.rope_factor, f)
    return torch.where((waves <= original / low) & (waves >= original / high), between, scaled)


def rope(x, f, layout="half"):
    """x (B, heads, T, D)."""
    angles = torch.outer(torch.arange(x.shape[2], dtype=torch.float64), f)  # (T, D/2)
    if layout == "interleaved":
        turned = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(-2)
    cos, sin = (torch.cat([t, t], -1).to(x.dtype) for t in (angles.cos(), angles.sin()))
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


def attend(qkv, n_head, n_kv_head=None, prepare=None):
    """`prepare` changes queries and keys, (B, heads, T, D)."""
    K = n_kv_head or n_head
    B, T, channels = qkv.shape
    D = channels // (n_head + 2 * K)
    sizes = (n_head * D, K * D, K * D)
    q, k, v = (part.reshape(B, T, -1, D).transpose(1, 2) for part in qkv.split(sizes, dim=2))
    if prepare:
        q, k = prepare(q, k)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=n_head > K)
    return y.transpose(1, 2).reshape(B, T, n_head * D)


def preparation(p, name, eps, qk_norm, f):
    def prepare(q, k):
        if qk_norm:
            q, k = rms_norm(q, p, f"{name}q_norm.", eps), rms_norm(k, p, f"{name}k_norm.", eps)
        return (q, k) if f is None else (rope(q, f), rope(k, f))

    return prepare


def attention(x, p, name, n_head, n_kv_head=None, prepare=None):
    return linear(attend(linear(x, p, f"{name}c_attn."), n_head, n_kv_head, prepare), p, f"{name}c_proj.")


def layer_attention(layer, p, x):
    f = frequencies(layer.rope.dim) if layer.rope else None
    prepare = preparation(p, "", layer.q_norm and layer.q_norm.eps, layer.q_norm is not None, f)
    return attention(x, p, "", layer.heads.n_head, layer.heads.n_kv_head, prepare)


def mlp(x, p, name, kind):
    if kind == "swiglu":
        return linear(F.silu(linear(x, p, f"{name}c_gate.")) * linear(x, p, f"{name}c_fc."), p, f"{name}c_proj.")
    return linear(activate(linear(x, p, f"{name}c_fc."), kind), p, f"{name}c_proj.")


def norm(x, p, name, config):
    if config.norm == "rmsnorm":
        return rms_norm(x, p, name, config.norm_eps)
    return F.layer_norm(x, x.shape[-1:], p[f"{name}weight"], p.get(f"{name}bias"), config.norm_eps)


def block(x, p, name, config):
    f = frequencies(config.head_channels, config.rope_theta, config) if config.position == "rope" else None
    prepare = preparation(p, f"{name}attn.", config.norm_eps, config.qk_norm != "none", f)
    branch = attention(norm(x, p, f"{name}ln_1.", config), p, f"{name}attn.", config.n_head, config.kv_heads, prepare)
    x = x + branch
    return x + mlp(norm(x, p, f"{name}ln_2.", config), p, f"{name}mlp.", config.activation)


def gpt(p, idx, config):
    x = F.embedding(idx, p["wte.weight"])
    if config.position == "learned":
        x = x + p["wpe.weight"][: idx.shape[1]]
    for i in range(config.n_layer):
        x = block(x, p, f"h.{i}.", config)
    return F.linear(norm(x, p, "ln_f.", config), p.get("lm_head.weight", p["wte.weight"]))


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


KINDS = {"ReLU": "relu", "GELU": "gelu", "ReLUSquared": "relu2"}

LAYERS = {
    "Linear": lambda layer, p, x: linear(x, p, ""),
    "ResidualLinear": lambda layer, p, h, *x: sum(x, linear(h, p, "")),
    "ReLU": lambda layer, p, x: activate(x, "relu"),
    "GELU": lambda layer, p, x: activate(x, "gelu"),
    "ReLUSquared": lambda layer, p, x: activate(x, "relu2"),
    "LayerNorm": lambda layer, p, x: layer_norm(x, p, ""),
    "RMSNorm": lambda layer, p, x: rms_norm(x, p, "", layer.eps),
    "RoPE": lambda layer, p, x: rope(x.swapaxes(1, 2), frequencies(layer.dim), layer.layout).swapaxes(1, 2),
    "SwiGLU": lambda layer, p, gate, up: F.silu(gate) * up,
    "GatedMLP": lambda layer, p, x: mlp(x, p, "", "swiglu"),
    "Dropout": lambda layer, p, x: x * tensor(cases.dropout_mask(layer, x.detach().numpy())),
    "Attention": lambda layer, p, qkv: attend(qkv, layer.n_head, layer.n_kv_head),
    "CausalSelfAttention": layer_attention,
    "MLP": lambda layer, p, x: mlp(x, p, "", KINDS[type(layer.activation).__name__]),
    "Embedding": lambda layer, p, ids: F.embedding(ids, p["weight"]),
    "PositionEmbedding": lambda layer, p, x: x + p["weight"][: x.shape[1]],
    "LMHead": lambda layer, p, x: F.linear(x, p["weight"]),
    "CrossEntropy": lambda layer, p, logits, targets: cross_entropy(logits, targets),
    "Block": lambda layer, p, x: block(x, p, "", cases.LLAMA_BLOCK if layer.attn.rope else cases.BLOCK),
}


def layer_gradients(name, layer, inputs, dy=None) -> dict[str, np.ndarray]:
    """{"y": output, "dx": gradient of the first input, "dx1" of a second, and of each parameter by name}, of dy . y."""
    p = {n: tensor(v.value, grad=True) for n, v in layer.named_parameters()}
    given = [tensor(array, grad=True) for array in inputs]
    y = LAYERS[name](layer, p, *given)
    if dy is None:
        dy = cases.numbers("dy", *y.shape) if y.ndim else np.array(0.7)
    y.backward(tensor(dy))
    found = {"y": y.detach().numpy()} | {n: v.grad.numpy() for n, v in p.items()}
    return found | cases.named_gradients([x.grad.numpy() for x in given if x.requires_grad])


def their_layers() -> dict[str, np.ndarray]:
    return {
        f"{name}/{what}": value
        for name, (layer, inputs) in cases.layer_cases(cases.Device("numpy", dtype="float64")).items()
        for what, value in layer_gradients(type(layer).__name__, layer, inputs).items()
    }


def model_gradients(model, idx, targets, dtype=torch.float64) -> dict[str, np.ndarray]:
    """{"loss": ..., "logits": ..., and each parameter's gradient by name}, at the parameters of our `model`."""
    p = {name: tensor(v.value, dtype, grad=True) for name, v in model.named_parameters()}
    logits = gpt(p, torch.tensor(idx), model.config)
    loss = cross_entropy(logits, torch.tensor(targets))
    loss.backward()
    found = {"loss": loss, "logits": logits} | {n: v.grad for n, v in p.items()}
    return {name: value.detach().numpy() for name, value in found.items()}


def their_model(name: str, dtype: str = "float64") -> dict[str, np.ndarray]:
    return model_gradients(*cases.model_case(name, dtype), getattr(torch, dtype))


def adamw(p, settings):
    """Weight decay on matrices alone."""
    matrices, vectors = [v for v in p.values() if v.ndim >= 2], [v for v in p.values() if v.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, **settings)


def set_rate(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = lr


def their_optimizer() -> dict[str, np.ndarray]:
    p = {name: tensor(v.value, grad=True) for name, v in cases.optimizer_model().named_parameters()}
    optimizer, norms = adamw(p, cases.ADAMW), []
    for step in range(cases.STEPS):
        for name, v in p.items():
            v.grad = tensor(cases.gradient_at(step, name, v.shape))
        set_rate(optimizer, cases.ADAMW["lr"] * (1 + step % 5))
        norms.append(float(torch.nn.utils.clip_grad_norm_(p.values(), cases.CLIP)))
        optimizer.step()
    return {"norms": np.array(norms)} | {name: v.detach().numpy() for name, v in p.items()}


def their_run() -> dict[str, np.ndarray]:
    tokens = cases.run_text()
    model = cases.run_model(int(tokens.max()) + 1)
    p = {name: tensor(v.value, grad=True) for name, v in model.named_parameters()}
    optimizer, losses = adamw(p, cases.RUN_ADAMW), []
    for step in range(cases.RUN_STEPS):
        idx, targets = (torch.tensor(part) for part in cases.run_batch(tokens, step))
        loss = cross_entropy(gpt(p, idx, model.config), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(p.values(), cases.CLIP)
        set_rate(optimizer, cases.run_rate(step))
        optimizer.step()
    return {"losses": np.array(losses)}


def record_text() -> np.ndarray:
    """The beginning of the embedded corpus, as ids of characters."""
    text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:20000]
    letters = sorted(set(text))
    return np.array([letters.index(letter) for letter in text], dtype=np.uint8)


def everything() -> dict[str, np.ndarray]:
    """What is recorded."""
    parts = {"layers": their_layers(), "optimizer": their_optimizer(), "run": their_run()}
    parts |= {f"model {name}": their_model(name) for name in cases.MODELS}
    return {f"{part}: {name}": value for part, values in parts.items() for name, value in values.items()}


if __name__ == "__main__":
    text = record_text()
    np.savez_compressed(cases.RECORDED, text=text)
    np.savez_compressed(cases.RECORDED, text=text, **everything())
    print(f"wrote {cases.RECORDED.name}: {cases.RECORDED.stat().st_size} bytes, PyTorch {torch.__version__}")
