"""Chapter 15: what GPT-2 and Llama do otherwise, their sizes, and other people's weights."""

import tomllib
from pathlib import Path

import numpy as np
from book.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure
from book.formulas import block, markdown_table, number, vector
from book.measured import measured

from gpt import GPT, GPTConfig, generate, load
from gpt.hub.layout import gpt2_layout, llama_layout
from nanograd import Device
from nanograd.layers.rope import RoPE
from nanograd.reference.activations import silu, silu_backward
from nanograd.reference.attention import attention, attention_backward, share_heads, share_heads_backward

ROOT = Path(__file__).resolve().parents[3]
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False}
GPT2 = {"activation": "gelu", "qkv_bias": True, "tie_weights": True}
MODELS = {
    "article": GPTConfig(512),
    "GPT-2 124M": GPTConfig(50257, block_size=1024, n_layer=12, n_head=12, n_embd=768, **GPT2),
    "SmolLM2 135M": GPTConfig(
        49152,
        block_size=8192,
        n_layer=30,
        n_head=9,
        n_kv_head=3,
        n_embd=576,
        n_inner=1536,
        rope_theta=1e5,
        tie_weights=True,
        **LLAMA,
    ),
    "Llama 3 8B": GPTConfig(
        128256,
        block_size=8192,
        n_layer=32,
        n_head=32,
        n_kv_head=8,
        n_embd=4096,
        n_inner=14336,
        rope_theta=5e5,
        **LLAMA,
    ),
}

# SwiGLU: two hidden numbers, one position

G, U, DA = np.log([3.0, 1.0]), np.array([2.0, 4.0]), np.ones(2)


def swiglu_forward():
    s = 1 / (1 + np.exp(-G))
    return block(
        r"s &= \frac{1}{1 + e^{-g}} = (1 / (1 + \tfrac13), 1 / (1 + 1))",
        rf"&= {vector(s)}",
        rf"\text{{silu}}(g) &= g \, s = {vector(silu(G))}",
        rf"a &= \text{{silu}}(g) \odot u = {vector(silu(G) * U)}",
    )


def swiglu_backward():
    slope = silu_backward(1.0, G)
    return block(
        rf"du &= da \odot \text{{silu}}(g) = {vector(DA * silu(G))}",
        rf"\text{{silu}}'(g) &= s + g \, s (1 - s) = {vector(slope)}",
        rf"dg &= da \odot u \odot \text{{silu}}'(g) = {vector(silu_backward(DA * U, G))}",
    )


# Grouped heads: two heads of queries, one of keys and values, two positions, one channel

Q = np.array([[[0.0], [1.0]], [[0.0], [2.0]]])[None]  # (B, H, T, D)
K = np.array([[0.0], [np.log(3)]])[None, None]  # (B, K, T, D)
V = np.array([[2.0], [4.0]])[None, None]
DO = np.array([[[0.0], [1.0]], [[0.0], [1.0]]])[None]  # the loss looks at the last position alone


HEADS = {"en": ("head 1", "head 2", "together"), "zh": ("头 1", "头 2", "合计")}


def grouped_forward(lang):
    one, two, _ = HEADS[lang]
    o = attention(Q, share_heads(K, 2), share_heads(V, 2))[0, :, 1, 0]
    return block(
        rf"\text{{{one}}}: \quad & e^S = (1, 3) \quad P = (0.25, 0.75)",
        rf"& o = 0.5 + 3 = {number(o[0])}",
        rf"\text{{{two}}}: \quad & e^S = (1, 9) \quad P = (0.1, 0.9)",
        rf"& o = 0.2 + 3.6 = {number(o[1])}",
    )


def grouped_gradients():
    shared = share_heads(K, 2), share_heads(V, 2)
    _, dk, dv = attention_backward(DO, Q, *shared)
    return dk, dv, share_heads_backward(dk, K, 2), share_heads_backward(dv, V, 2)


def grouped_backward(lang):
    dk, dv, total_k, total_v = grouped_gradients()
    parts = (dk[0, 0], dv[0, 0]), (dk[0, 1], dv[0, 1]), (total_k, total_v)
    lines = []
    for name, (k, v) in zip(HEADS[lang], parts, strict=True):
        lines += [rf"\text{{{name}}}: \quad dk &= {vector(k)}", f"dv &= {vector(v)}"]
    return block(*lines)


# Sizes


def counted(config) -> dict[str, int]:
    """Parameters by part, of weights and biases."""
    C, V, inner, D = config.n_embd, config.vocab_size, config.inner_channels, config.head_channels
    H, K, bias = config.n_head, config.kv_heads, config.bias
    norms = (1 + (bias and config.norm == "layernorm")) * C
    attn = C * (H + 2 * K) * D + H * D * C + config.qkv_bias * (H + 2 * K) * D + bias * C
    mlp = (3 if config.activation == "swiglu" else 2) * C * inner + bias * (inner + C)
    return {
        "embedding": V * C + (config.position == "learned") * config.block_size * C,
        "attention": config.n_layer * attn,
        "MLP": config.n_layer * mlp,
        "norms": (2 * config.n_layer + 1) * norms,
        "head": 0 if config.tie_weights else V * C,
    }


def check_counts() -> None:
    """The formulas above against real models, in small."""
    for settings in (GPT2, LLAMA | {"n_kv_head": 2}, {}):
        config = GPTConfig(50, block_size=8, n_layer=2, n_head=4, n_embd=16, **settings)
        if sum(counted(config).values()) != GPT(config, Device("numpy")).n_parameters():
            raise ValueError(f"the count of {config} is wrong")


def sizes(lang):
    check_counts()
    head = {
        "en": ("model", "layers", "C", "heads", "of k and v", "inner", "context", "vocabulary", "parameters"),
        "zh": ("模型", "层数", "C", "头数", "键值头数", "MLP 宽度", "上下文", "词表", "参数量"),
    }
    names = {"article": {"en": "the article's", "zh": "文章里的模型"}}
    rows = []
    for name, c in MODELS.items():
        values = (c.n_layer, c.n_embd, c.n_head, c.kv_heads, c.inner_channels, c.block_size, c.vocab_size)
        total = sum(counted(c).values())
        rows.append((names.get(name, {}).get(lang, name), *(f"{value:,}" for value in (*values, total))))
    return markdown_table(head[lang], "l" + "r" * 8, rows)


def shares():
    """Bars of one length, cut by parts: the MLP takes most everywhere, the vocabulary much in all but the largest."""
    figure, axes = new_figure(height=3.0)
    colours = dict(
        zip(("embedding", "attention", "MLP", "norms", "head"), (GREY, BLUE, ORANGE, GREEN, PURPLE), strict=True)
    )
    start = np.zeros(len(MODELS))
    for part, colour in colours.items():
        width = np.array([counted(c)[part] / sum(counted(c).values()) for c in MODELS.values()])
        if part != "norms":  # too thin to be seen
            axes.barh(list(MODELS), width, left=start, color=colour, label=part)
        start += width
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="share of the parameters", xlim=(0, 1))
    figure.legend(loc="outside upper center", ncols=4)
    return figure


RECIPE = tomllib.loads((ROOT / "recipes" / "gpt2-124m.toml").read_text(encoding="utf-8"))
TOKENS_OF_GPT2 = RECIPE["max_steps"] * RECIPE["batch_size"] * RECIPE["grad_accum"] * RECIPE["block_size"]
A_CORE = 1e11  # operations a second of matrix products, about


def training_operations() -> float:
    return 6 * sum(counted(MODELS["GPT-2 124M"]).values()) * TOKENS_OF_GPT2


def tokens():
    return f"{TOKENS_OF_GPT2 / 1e9:.0f}"


def operations():
    digits, _, exponent = f"{training_operations():.1e}".partition("e")
    return rf"${digits} \cdot 10^{{{int(exponent)}}}$"


def years():
    return f"{training_operations() / A_CORE / (365 * 24 * 3600):.0f}"


def kv_bytes(lang):
    """Bytes of the cache for one token, at 16 bits a number."""
    head = {
        "en": ("model", "KV cache a token", "with as many heads of k and v as of q"),
        "zh": ("模型", "每个词元的 KV 缓存", "若键值头与查询头一样多"),
    }
    rows = []
    for name in ("GPT-2 124M", "SmolLM2 135M", "Llama 3 8B"):
        c = MODELS[name]
        own, full = (2 * 2 * c.n_layer * heads * c.head_channels / 1024 for heads in (c.kv_heads, c.n_head))
        rows.append((name, f"{own:.1f} KiB", f"{full:.1f} KiB"))
    return markdown_table(head[lang], "lrr", rows)


# Other people's weights


def names():
    """Where the numbers of block 0 stand in the files of others: theirs, below our names."""
    small = {"block_size": 8, "n_layer": 1, "n_head": 4, "n_embd": 16}
    llama = GPTConfig(50, n_kv_head=2, n_inner=48, **small, **LLAMA)
    layouts = {
        "GPT-2": gpt2_layout(GPTConfig(50, **small, **GPT2)),
        "Llama": llama_layout(llama, attention_bias=False, output_bias=False, mlp_bias=False, qk_norm=False),
    }
    for family, layout in layouts.items():
        print(family)
        for ours in ("wte.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight"):
            print(f"  {ours}")
            for part in layout[ours]:
                columns = "" if part.columns is None else f", columns {part.columns[0]} to {part.columns[1]}"
                print(f"    {part.name} {part.shape}{', transposed' * part.transpose}{columns}")


PROMPT = "Once upon a time, there was a little girl who"


def silent_mistakes():
    """Loss of SmolLM2 on the start of data/tales.txt, and what it writes, when something about it is not right."""
    model, tokenizer = load("smollm2")
    config = model.config
    text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")
    ids = np.array(tokenizer.encode(text))[:513]

    def with_rope(**settings):
        for layer in model.h:
            layer.attn.rope = RoPE(config.head_channels, **{"theta": config.rope_theta} | settings)

    changes = {
        "as it is": {},
        "pairs side by side, not i and i + D/2": {"layout": "interleaved"},
        "theta 10,000, not 100,000": {"theta": 1e4},
    }
    found = {}
    for what, settings in changes.items():
        with_rope(**settings)
        loss = float(model(ids[None, :-1], ids[None, 1:])[1])
        written = list(generate(model, tokenizer.encode(PROMPT), 16, temperature=0))
        found[what] = [round(loss, 3), tokenizer.decode(written)]
    return found


def silent(lang):
    head = {"en": ("RoPE", "loss", "it goes on"), "zh": ("RoPE", "损失", "续写")}
    chinese = {
        "as it is": "正确",
        "pairs side by side, not i and i + D/2": "相邻通道成对，而不是 i 与 i + D/2",
        "theta 10,000, not 100,000": "theta 用 10,000，而不是 100,000",
    }
    rows = []
    for what, (loss, text) in measured("gpt2_and_llama.silent_mistakes").items():
        said = " ".join(text.split()).replace("|", "")
        rows.append((what if lang == "en" else chinese[what], f"{loss:.2f}", f"{said} …"))
    return markdown_table(head[lang], "lrl", rows)
