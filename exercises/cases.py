"""Inputs for each exercise, and everything that a solution computes from them.

An exercise is a layer or a function. `run(name, module, seed)` makes both passes of the layer, twice, or calls the
function, and returns all results by name: they are compared with the solution's and with those of each classic mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exercises.catalog import solved
from nanograd import Device

B, T, C, H, V = 2, 3, 4, 2, 5
SEEDS = (0, 1)


@dataclass(frozen=True)
class LayerCase:
    """`make(module)` builds the layer, the rest of a composite from solutions; `inputs(rng)` are its inputs."""

    defines: str  # the name that the file must define
    make: Callable
    inputs: Callable


@dataclass(frozen=True)
class FunctionCase:
    """`calls(function, rng)` gives {what: result} of a few calls."""

    defines: str
    calls: Callable


def x_of(*shape):
    return lambda rng: (rng.standard_normal(shape),)


def ids_of(*shape):
    """Few different ones, so that they repeat."""
    return lambda rng: (rng.integers(0, 3, shape),)


def part(name, *arguments):
    """A layer of the solution of another exercise."""
    return getattr(solved(name), CASES[name].defines)(*arguments)


def mlp(module):
    return module.MLP(part("linear", C, 4 * C), part("relu"), part("linear", 4 * C, C))


def self_attention(module):
    return module.SelfAttention(H, part("linear", C, 3 * C), part("attention"), part("linear", C, C))


def residual(module):
    return module.Residual(part("layernorm", C), mlp(solved("mlp")))


def block(module):
    norms = part("layernorm", C), part("layernorm", C)
    return module.Block(norms[0], self_attention(solved("self_attention")), norms[1], mlp(solved("mlp")))


def adamw_calls(adamw, rng):
    p, m, v = rng.standard_normal((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    found = {}
    for t in range(1, 4):
        g = rng.standard_normal((2, 3)) * 10.0 ** rng.integers(-8, 2, (2, 3))
        p, m, v = adamw(p, g, m, v, t, 0.1, 0.9, 0.95, 1e-8, 0.1)
        found |= {f"p (t = {t})": p, f"m (t = {t})": m, f"v (t = {t})": v}
    return found


def clip_calls(clip, rng):
    gradients = {"weight": rng.standard_normal((2, 3)), "bias": rng.standard_normal(3)}
    found = {}
    for max_norm in (0.5, 100.0):
        clipped, norm = clip(dict(gradients), max_norm)
        found |= {f"{name} (max_norm {max_norm:g})": clipped[name] for name in gradients}
        found[f"norm (max_norm {max_norm:g})"] = norm
    zero, norm = clip({"weight": np.zeros(2)}, 1.0)
    return found | {"weight (all zeros)": zero["weight"], "norm (all zeros)": norm}


def kv_calls(attend_next, rng):
    keys = values = np.zeros((H, 0, 2))
    found = {}
    for position in range(4):
        q, k, v = rng.standard_normal((3, H, 1, 2))
        o, keys, values = attend_next(q, k, v, keys, values)
        found |= {f"o (position {position})": o, f"keys (position {position})": keys}
        found[f"values (position {position})"] = values
    return found


def top_p_calls(top_p, rng):
    z = rng.standard_normal(8) * 2
    found = {f"p = {p}": top_p(z.copy(), p) for p in (0.1, 0.5, 0.9, 1.0)}
    return found | {"p = 0.5 of 0.6 and 0.4": top_p(np.log(np.array([0.4, 0.6])), 0.5)}


def difference_calls(differences, rng):
    x = rng.standard_normal((2, 3))
    given = np.zeros((3, 2))  # where the one-sided difference of a square is h, and the right one 0
    calls = {"of a sum of cubes": (lambda x: (x**3).sum(), x), "of a product": (lambda x: x.prod(), x)}
    calls["of squares at 0"] = (lambda x: (x * x).sum() * 1e3, given)
    return {what: np.round(differences(f, x.copy()), 4) for what, (f, x) in calls.items()}


def schedule_calls(learning_rate, rng):
    return {
        f"warmup {warmup} of {steps}": [learning_rate(step, 1.0, 0.1, warmup, steps) for step in range(steps)]
        for warmup, steps in ((3, 8), (1, 5))
    }


def bpe_calls(bpe_step, rng):
    found = {}
    for text in (
        [1, 2, 1, 2, 3],
        [1, 1, 1],
        [3, 2, 2, 3, 1, 1],
        [2, 1, 2, 1, 2, 3, 1],
        rng.integers(0, 3, 30).tolist(),
    ):
        pair, merged = bpe_step(list(text), 9)
        what = " ".join(map(str, text)) if len(text) < 10 else "a longer list"
        found |= {f"the pair of {what}": list(pair), f"{what} merged": merged}
    return found


CASES = {
    "linear_dx": LayerCase("Linear", lambda m: m.Linear(C, 3), x_of(B, T, C)),
    "linear": LayerCase("Linear", lambda m: m.Linear(C, 3), x_of(B, T, C)),
    "relu": LayerCase("ReLU", lambda m: m.ReLU(), x_of(B, T, C)),
    "gelu": LayerCase("GELU", lambda m: m.GELU(), x_of(B, T, C)),
    "differences": FunctionCase("differences", difference_calls),
    "softmax": LayerCase("Softmax", lambda m: m.Softmax(), x_of(B, T, C)),
    "cross_entropy": LayerCase(
        "CrossEntropy",
        lambda m: m.CrossEntropy(),
        lambda rng: (rng.standard_normal((B, T, V)), rng.integers(0, 3, (B, T))),
    ),
    "layernorm": LayerCase("LayerNorm", lambda m: m.LayerNorm(C), x_of(B, T, C)),
    "rmsnorm": LayerCase("RMSNorm", lambda m: m.RMSNorm(C), x_of(B, T, C)),
    "embedding": LayerCase("Embedding", lambda m: m.Embedding(V, C), ids_of(B, T)),
    "tied_table": LayerCase("TiedTable", lambda m: m.TiedTable(V, C), ids_of(B, T)),
    "dropout": LayerCase("Dropout", lambda m: m.Dropout(0.4), x_of(B, T, C)),
    "attention": LayerCase("Attention", lambda m: m.Attention(), lambda rng: tuple(rng.standard_normal((3, B, T, 2)))),
    "self_attention": LayerCase("SelfAttention", self_attention, x_of(B, T, C)),
    "mlp": LayerCase("MLP", mlp, x_of(B, T, C)),
    "residual": LayerCase("Residual", residual, x_of(B, T, C)),
    "block": LayerCase("Block", block, x_of(B, T, C)),
    "rope": LayerCase("RoPE", lambda m: m.RoPE(theta=10.0), x_of(B, T, C)),
    "swiglu": LayerCase("SwiGLU", lambda m: m.SwiGLU(), lambda rng: tuple(rng.standard_normal((2, B, T, C)))),
    "grouped_heads": LayerCase("ShareHeads", lambda m: m.ShareHeads(2), x_of(B, 4, T, 2)),
    "adamw": FunctionCase("adamw", adamw_calls),
    "clipping": FunctionCase("clip", clip_calls),
    "schedule": FunctionCase("learning_rate", schedule_calls),
    "kv_cache": FunctionCase("attend_next", kv_calls),
    "top_p": FunctionCase("top_p", top_p_calls),
    "bpe_step": FunctionCase("bpe_step", bpe_calls),
}


def fast(defines: str, *arguments, **options) -> Callable:
    """make(module) of a fast layer, which is told its device."""
    return lambda module: getattr(module, defines)(*arguments, device=Device("numpy", "float64"), **options)


CASES |= {
    f"nanograd/layers/{file}.py": LayerCase(defines, fast(defines, *arguments, **options), inputs)
    for file, defines, arguments, options, inputs in (
        ("linear", "Linear", (C, 3), {}, x_of(B, T, C)),
        ("activations", "GELU", (), {}, x_of(B, T, C)),
        ("cross_entropy", "CrossEntropy", (), {}, CASES["cross_entropy"].inputs),
        ("layernorm", "LayerNorm", (C,), {}, x_of(B, T, C)),
        ("rmsnorm", "RMSNorm", (C,), {}, x_of(B, T, C)),
        ("embedding", "Embedding", (V, C), {}, ids_of(B, T)),
        ("attention", "Attention", (H,), {}, x_of(B, T, 6 * H)),
        ("rope", "RoPE", (C,), {"theta": 10.0}, x_of(B, T, H, C)),
        ("swiglu", "SwiGLU", (), {}, CASES["swiglu"].inputs),
    )
}


def spread(layer, rng) -> None:
    """Move every parameter away from where it starts: a LayerNorm with gain 1 hides mistakes."""
    for _, parameter in layer.named_parameters():
        parameter.value[...] += rng.standard_normal(parameter.shape)


def layer_at(name: str, module, seed: int):
    """(the layer, its inputs, the generator that they came from)"""
    case, rng = CASES[name], np.random.default_rng(seed)
    layer = case.make(module)
    inputs = case.inputs(rng)
    spread(layer, rng)
    return layer, inputs, rng


def run(name: str, module, seed: int) -> dict[str, np.ndarray]:
    """All results by name. A layer's second pass adds to the first one's parameter gradients: "weight.grad, twice"."""
    case, rng = CASES[name], np.random.default_rng(seed)
    if isinstance(case, FunctionCase):
        calls = case.calls(getattr(module, case.defines), rng)
        return {what: np.array(result, dtype=float) for what, result in calls.items()}
    layer, inputs, rng = layer_at(name, module, seed)
    found = {}
    for suffix in ("", ", twice"):
        y = layer(*inputs)
        dy = rng.standard_normal(np.shape(y)) if np.shape(y) else rng.standard_normal()
        gradients = layer.backward(dy)
        if not suffix and gradients is not None:
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            names = input_names(name)
            found |= {n: np.array(g, dtype=float) for n, g in zip(names, gradients, strict=False)}
        found |= {f"{n}.grad{suffix}": np.array(p.grad, dtype=float) for n, p in layer.named_parameters()}
    return found


def input_names(name: str) -> list[str]:
    """What the gradients that backward returns are called."""
    names = {"attention": ["dq", "dk", "dv"], "grouped_heads": ["dk"], "softmax": ["ds"]}
    for file, gradients in (("swiglu", ["dg", "du"]), ("cross_entropy", ["dlogits"])):
        names |= {file: gradients, f"nanograd/layers/{file}.py": gradients}
    return names.get(name, ["dx"])
