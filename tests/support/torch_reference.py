"""PyTorch's side of reference_cases.py: the same layers, model, optimiser and run, by autograd.

Written with torch.nn.functional and nothing of nanograd's. Weights are stored (in, out) as everywhere here, so a
Linear is `F.linear(x, W.T, b)`.

    python -m tests.support.torch_reference        writes tests/support/torch_reference.npz anew
"""

import numpy as np
import torch
import torch.nn.functional as F

from tests.support import ROOT
from tests.support import reference_cases as cases

torch.set_num_threads(1)


def tensor(array, dtype=torch.float64, grad=False):
    array = torch.tensor(np.asarray(array))
    return array.to(dtype).requires_grad_(grad) if array.is_floating_point() else array


def linear(x, p, name):
    bias = p.get(f"{name}bias")
    return F.linear(x, p[f"{name}weight"].T, bias)


def layer_norm(x, p, name):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}weight"], p.get(f"{name}bias"), 1e-5)


def activate(x, kind):
    return F.gelu(x, approximate="tanh") if kind == "gelu" else F.relu(x)


def attend(qkv, n_head):
    B, T, C3 = qkv.shape
    q, k, v = (part.reshape(B, T, n_head, -1).transpose(1, 2) for part in qkv.split(C3 // 3, dim=2))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C3 // 3)


def attention(x, p, name, n_head):
    return linear(attend(linear(x, p, f"{name}c_attn."), n_head), p, f"{name}c_proj.")


def mlp(x, p, name, kind):
    return linear(activate(linear(x, p, f"{name}c_fc."), kind), p, f"{name}c_proj.")


def block(x, p, name, n_head, kind):
    x = x + attention(layer_norm(x, p, f"{name}ln_1."), p, f"{name}attn.", n_head)
    return x + mlp(layer_norm(x, p, f"{name}ln_2."), p, f"{name}mlp.", kind)


def gpt(p, idx, config):
    x = F.embedding(idx, p["wte.weight"]) + p["wpe.weight"][: idx.shape[1]]
    for i in range(config.n_layer):
        x = block(x, p, f"h.{i}.", config.n_head, config.activation)
    return F.linear(layer_norm(x, p, "ln_f."), p.get("lm_head.weight", p["wte.weight"]))


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


LAYERS = {
    "Linear": lambda layer, p, x: linear(x, p, ""),
    "ResidualLinear": lambda layer, p, h, *x: sum(x, linear(h, p, "")),
    "ReLU": lambda layer, p, x: activate(x, "relu"),
    "GELU": lambda layer, p, x: activate(x, "gelu"),
    "LayerNorm": lambda layer, p, x: layer_norm(x, p, ""),
    "Dropout": lambda layer, p, x: x * tensor(cases.dropout_mask(layer, x.detach().numpy())),
    "Attention": lambda layer, p, qkv: attend(qkv, layer.n_head),
    "CausalSelfAttention": lambda layer, p, x: attention(x, p, "", layer.heads.n_head),
    "MLP": lambda layer, p, x: mlp(x, p, "", type(layer.activation).__name__.lower()),
    "Embedding": lambda layer, p, ids: F.embedding(ids, p["weight"]),
    "PositionEmbedding": lambda layer, p, x: x + p["weight"][: x.shape[1]],
    "LMHead": lambda layer, p, x: F.linear(x, p["weight"]),
    "CrossEntropy": lambda layer, p, logits, targets: cross_entropy(logits, targets),
    "Block": lambda layer, p, x: block(x, p, "", cases.BLOCK.n_head, cases.BLOCK.activation),
}


def layer_gradients(name, layer, inputs, dy=None) -> dict[str, np.ndarray]:
    """{"y": output, "dx": gradient of the first input, and of each parameter by name}, of dy . y."""
    p = {n: tensor(v.value, grad=True) for n, v in layer.named_parameters()}
    x, *more = (tensor(array, grad=True) for array in inputs)
    y = LAYERS[name](layer, p, x, *more)
    if dy is None:
        dy = cases.numbers("dy", *y.shape) if y.ndim else np.array(0.7)
    y.backward(tensor(dy))
    found = {"y": y.detach().numpy()} | {n: v.grad.numpy() for n, v in p.items()}
    return found | ({"dx": x.grad.numpy()} if x.requires_grad else {})


def their_layers() -> dict[str, np.ndarray]:
    return {
        f"{name}/{what}": value
        for name, (layer, inputs) in cases.layer_cases(cases.Device("numpy", dtype="float64")).items()
        for what, value in layer_gradients(name, layer, inputs).items()
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
