"""Where the numbers of other people's tensors stand in our parameters, for reading and for writing.

A parameter of ours is made of parts, each a tensor of theirs:

    ours                                     GPT-2's files               Llama's files
    wte.weight            (V, C)             wte.weight                  model.embed_tokens.weight
    h.0.attn.c_attn.weight (C, (H + 2K) D)   h.0.attn.c_attn.weight      q_proj, k_proj, v_proj, each (out, in):
                                                                         transposed, side by side
    h.0.mlp.c_gate, c_fc  (C, n_inner)       only c_fc                   gate_proj, up_proj, transposed

GPT-2's own files are (in, out), as ours are. GGUF has every matrix as (out, in), and for Llama the rows of queries and
keys in the order of Meta's rotation: a pair of channels side by side, where Hugging Face and we have i and i + D/2.

A part that a model of ours does not have (a bias, the weight of a QK-norm) stands for a constant: exporting writes it,
and importing demands it.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from gpt.config.options import GPTConfig

Layout = dict[str, list["Part"]]  # {our parameter: its parts}


@dataclass(frozen=True)
class Part:
    """A tensor `name` of `shape` in a file, and where it is in a parameter of ours.

    columns: which of the parameter's last axis, (start, stop); None is all.
    transpose: it is (out, in) there.
    heads: so many heads whose rotated pairs lie side by side there; 0 is none.
    constant: what all its numbers are where we have no such parameter.
    """

    name: str
    shape: tuple[int, ...]
    columns: tuple[int, int] | None = None
    transpose: bool = False
    heads: int = 0
    constant: float | None = None

    def named(self, name: str) -> "Part":
        return replace(self, name=name)


def gpt2_layout(config: GPTConfig) -> Layout:
    """GPT2LMHeadModel's tensors, without the prefix that all but the head may have."""
    C, inner = config.n_embd, config.inner_channels
    layout = {
        "wte.weight": [Part("wte.weight", (config.vocab_size, C))],
        "wpe.weight": [Part("wpe.weight", (config.block_size, C))],
    }

    def add(name, shape, constant=None):
        layout[name] = [Part(name, shape, constant=constant)]

    for block in (f"h.{number}" for number in range(config.n_layer)):
        shapes = {"attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C), "mlp.c_fc": (C, inner), "mlp.c_proj": (inner, C)}
        for norm in ("ln_1", "ln_2"):
            add(f"{block}.{norm}.weight", (C,))
            add(f"{block}.{norm}.bias", (C,), 0)
        for name, shape in shapes.items():
            add(f"{block}.{name}.weight", shape)
            add(f"{block}.{name}.bias", shape[1:], 0)
    add("ln_f.weight", (C,))
    add("ln_f.bias", (C,), 0)
    if not config.tie_weights:
        add("lm_head.weight", (config.vocab_size, C))
    return layout


def llama_layout(config: GPTConfig, attention_bias: bool, output_bias: bool, mlp_bias: bool, qk_norm: bool) -> Layout:
    """The tensors of LlamaForCausalLM and its like. The biases: of q, k and v; of o_proj; of the MLP."""
    C, H, K, D, inner = config.n_embd, config.n_head, config.kv_heads, config.head_channels, config.inner_channels
    ends = [0, H * D, (H + K) * D, (H + 2 * K) * D]
    layout = {"wte.weight": [Part("model.embed_tokens.weight", (config.vocab_size, C))]}
    for number in range(config.n_layer):
        ours, theirs = f"h.{number}", f"model.layers.{number}"
        layout[f"{ours}.ln_1.weight"] = [Part(f"{theirs}.input_layernorm.weight", (C,))]
        layout[f"{ours}.ln_2.weight"] = [Part(f"{theirs}.post_attention_layernorm.weight", (C,))]
        qkv = [(f"{theirs}.self_attn.{x}_proj", span) for x, span in zip("qkv", pairwise(ends), strict=True)]
        layout[f"{ours}.attn.c_attn.weight"] = [
            Part(f"{name}.weight", (span[1] - span[0], C), span, transpose=True) for name, span in qkv
        ]
        if attention_bias:
            layout[f"{ours}.attn.c_attn.bias"] = [
                Part(f"{name}.bias", (span[1] - span[0],), span, constant=0) for name, span in qkv
            ]
        if qk_norm:
            for x in "qk":
                part = Part(f"{theirs}.self_attn.{x}_norm.weight", (D,), constant=1)
                layout[f"{ours}.attn.{x}_norm.weight"] = [part]
        matrices = {
            "attn.c_proj": ("self_attn.o_proj", (C, H * D), output_bias),
            "mlp.c_gate": ("mlp.gate_proj", (inner, C), mlp_bias),
            "mlp.c_fc": ("mlp.up_proj", (inner, C), mlp_bias),
            "mlp.c_proj": ("mlp.down_proj", (C, inner), mlp_bias),
        }
        for name, (there, shape, bias) in matrices.items():
            layout[f"{ours}.{name}.weight"] = [Part(f"{theirs}.{there}.weight", shape, transpose=True)]
            if bias:
                layout[f"{ours}.{name}.bias"] = [Part(f"{theirs}.{there}.bias", shape[:1], constant=0)]
    layout["ln_f.weight"] = [Part("model.norm.weight", (C,))]
    if not config.tie_weights:
        layout["lm_head.weight"] = [Part("lm_head.weight", (config.vocab_size, C))]
    return layout


def gguf_layout(layout: Layout, architecture: str, config: GPTConfig) -> Layout:
    """The same tensors under the names, and in the order of rows, that llama.cpp has for them."""
    return {name: [gguf_part(part, architecture, config) for part in parts] for name, parts in layout.items()}


GGUF_NAMES = {
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output",
    "model.norm": "output_norm", "model.embed_tokens": "token_embd", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_part(part: Part, architecture: str, config: GPTConfig) -> Part:
    stem, kind = part.name.rsplit(".", 1)
    for prefix in ("h.", "model.layers."):
        if stem.startswith(prefix):
            number, stem = stem.removeprefix(prefix).split(".", 1)
            name = f"blk.{number}.{GGUF_NAMES[stem]}.{kind}"
            break
    else:
        name = f"{GGUF_NAMES[stem]}.{kind}"
    if architecture == "gpt2" and len(part.shape) == 2 and not part.transpose and ".c_" in stem:
        return replace(part, name=name, shape=part.shape[::-1], transpose=True)
    interleaved = {"attn_q": config.n_head, "attn_k": config.kv_heads}
    heads = interleaved.get(name.split(".")[-2], 0) if architecture == "llama" else 0
    return replace(part, name=name, heads=heads)
