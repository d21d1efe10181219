"""config.json -> GPTConfig, and what else the reader has to know; everything that we do not do is refused by name.

A config names an architecture, sizes and switches. A switch that we do not know may change the numbers, so one that is
on is refused too: a model that computes something a little different still writes fluent text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpt.config.options import GPTConfig
from gpt.errors import RunError, UsageError
from gpt.hub.layout import Layout, gpt2_layout, llama_layout

GPT2 = "GPT2LMHeadModel"
LLAMA, MISTRAL, QWEN2, QWEN3 = (f"{name}ForCausalLM" for name in ("Llama", "Mistral", "Qwen2", "Qwen3"))
MODEL_TYPES = {"gpt2": GPT2, "llama": LLAMA, "mistral": MISTRAL, "qwen2": QWEN2, "qwen3": QWEN3}
ACTIVATIONS = {"relu": "relu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu2": "relu2"}

# What decides nothing that is computed here: the training of the model, its outputs, where it came from.
INERT = {
    "_name_or_path", "architectures", "attention_dropout", "attn_pdrop", "bos_token_id", "bad_words_ids", "dtype",
    "embd_pdrop", "eos_token_id", "finetuning_task", "gradient_checkpointing", "id2label", "initializer_range",
    "is_llama_config", "label2id", "max_length", "max_window_layers", "model_type", "n_ctx", "nanograd", "pad_token_id",
    "prefix", "pretraining_tp", "reorder_and_upcast_attn", "resid_pdrop", "return_dict", "rope_parameters",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "task_specific_params", "tokenizer_class", "torch_dtype", "transformers.js_config", "transformers_version",
    "unk_token_id", "use_cache", "vocab_size", "tie_word_embeddings", "output_attentions", "output_hidden_states",
    "chunk_size_feed_forward", "sep_token_id", "language", "license", "temperature", "top_k", "top_p", "num_beams",
    "num_return_sequences", "repetition_penalty", "do_sample", "min_length", "length_penalty", "typical_p",
    "diversity_penalty", "num_beam_groups", "is_encoder_decoder", "problem_type",
}  # fmt: skip
MUST_BE = {"scale_attn_weights": True}  # what a switch that we cannot turn has to be


@dataclass(frozen=True)
class Shape:
    """A model of other people's: our config for it, the layout of its tensors, and its architecture's name."""

    config: GPTConfig
    layout: Layout
    architecture: str


class Fields:
    """The fields of a config.json, taken one by one; `refuse_rest` then refuses those that were not taken."""

    def __init__(self, fields: Mapping[str, Any], where):
        self.fields, self.where, self.taken = fields, where, set(INERT)

    def error(self, problem: str) -> RunError:
        return RunError(f"{self.where}: {problem}")

    def take(self, name: str, default=None):
        """The value of a field; null counts as missing."""
        self.taken.add(name)
        value = self.fields.get(name)
        return default if value is None else value

    def number(self, name: str, default=None, kind=int):
        value = self.take(name, default)
        if value is None:
            if name in self.fields:
                return None
            raise self.error(f"{name} is missing")
        if isinstance(value, bool) or not isinstance(value, kind if kind is int else int | float):
            raise self.error(f"{name} must be a {'whole ' * (kind is int)}number, not {value!r:.60}")
        return value

    def optional(self, name: str, kind=int):
        return self.number(name, kind=kind) if self.take(name) is not None else None

    def switch(self, name: str, default: bool) -> bool:
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false, not {value!r:.60}")
        return value

    def demand(self, name: str, allowed: tuple, default=None):
        """Refuse a field, by name and value, that is not one of the allowed values."""
        value = self.take(name, default)
        if not any(type(value) is type(known) and value == known for known in allowed):
            known = " or ".join(str(known) for known in allowed)
            raise self.error(f"{name} {value!r:.60} is not supported: {known} is")
        return value

    def refuse_rest(self) -> None:
        for name, value in self.fields.items():
            if name in self.taken or name.startswith("_"):
                continue
            if name in MUST_BE:
                self.demand(name, (MUST_BE[name],))
            elif value:
                raise self.error(f"{name} {value!r:.60} is not supported: nothing here does that")


def shape_of(fields: Mapping[str, Any], where) -> Shape:
    """The shape of the model that a config.json describes. `where` is the file, for messages.

    Raises RunError for an architecture, a switch or a size that cannot be.
    """
    found = Fields(fields, where)
    architecture = architecture_of(found)
    try:
        return (gpt2_shape if architecture == GPT2 else llama_shape)(found, architecture)
    except UsageError as error:  # a size that cannot be, in the words of our flags
        raise found.error(f"describes no model: {str(error).replace('--', '')}") from None


def architecture_of(found: Fields) -> str:
    names = found.fields.get("architectures")
    if names is None:
        names = [
            MODEL_TYPES.get(str(found.fields.get("model_type")), f"model_type {found.fields.get('model_type')!r:.60}")
        ]
    if not isinstance(names, list) or len(names) != 1 or names[0] not in MODEL_TYPES.values():
        named = names[0] if isinstance(names, list) and len(names) == 1 else names
        raise found.error(f"architecture {named!s:.80} is not supported: {', '.join(MODEL_TYPES.values())} are")
    return names[0]


def gpt2_shape(found: Fields, architecture: str) -> Shape:
    C, H = found.number("n_embd"), found.number("n_head")
    activation = found.demand("activation_function", tuple(ACTIVATIONS), "gelu_new")
    inner = found.optional("n_inner")
    found.demand("is_decoder", (True, False), False)
    own = own_fields(found)
    config = GPTConfig(
        vocab_size=found.number("vocab_size"),
        block_size=found.number("n_positions"),
        n_layer=found.number("n_layer"),
        n_head=H,
        n_embd=C,
        n_inner=None if inner == 4 * C else inner,
        activation=ACTIVATIONS[activation],
        norm_eps=found.number("layer_norm_epsilon", 1e-5, float),
        tie_weights=found.switch("tie_word_embeddings", True),
        bias=own.get("bias", True),
        qkv_bias=own.get("qkv_bias", True),
    )
    found.refuse_rest()
    return Shape(config, gpt2_layout(config), architecture)


def llama_shape(found: Fields, architecture: str) -> Shape:
    C, H = found.number("hidden_size"), found.number("num_attention_heads")
    K, D = found.optional("num_key_value_heads"), found.optional("head_dim")
    block_size = found.number("max_position_embeddings")
    found.demand("hidden_act", ("silu",), "silu")
    inner = found.number("intermediate_size")
    refuse_windows(found, block_size)
    if architecture == QWEN3 and D is None:
        D = 128  # what the class takes where its config says nothing
    bias = found.switch("attention_bias", False) if architecture in (LLAMA, QWEN3) else False
    mlp_bias = found.switch("mlp_bias", False) if architecture == LLAMA else False
    qkv_bias, qk_norm, own = bias or architecture == QWEN2, architecture == QWEN3, own_fields(found)
    if mlp_bias != bias and architecture == LLAMA:
        there, missing = ("mlp_bias", "attention_bias") if mlp_bias else ("attention_bias", "mlp_bias")
        raise found.error(f"{there} without {missing} is not supported: both or none are")
    if bias and architecture == QWEN3 and own.get("bias", True):
        raise found.error("attention_bias is not supported for Qwen3ForCausalLM: its MLP has none")
    config = GPTConfig(
        vocab_size=found.number("vocab_size"),
        block_size=block_size,
        n_layer=found.number("num_hidden_layers"),
        n_head=H,
        n_kv_head=None if K == H else K,
        n_embd=C,
        head_dim=None if D is None or H < 1 or D * H == C else D,
        n_inner=inner,
        activation="swiglu",
        norm="rmsnorm",
        norm_eps=found.number("rms_norm_eps", 1e-6, float),
        position="rope",
        tie_weights=found.switch("tie_word_embeddings", False),
        bias=own.get("bias", mlp_bias),
        qkv_bias=own.get("qkv_bias", qkv_bias),
        qk_norm=own.get("qk_norm", "rms_weight" if qk_norm else "none"),
        **rope(found),
    )
    found.refuse_rest()
    if inner == replace(config, n_inner=None).inner_channels:
        config = replace(config, n_inner=None)
    return Shape(config, llama_layout(config, qkv_bias, bias, mlp_bias, qk_norm), architecture)


def own_fields(found: Fields) -> dict[str, Any]:
    """What an export of ours notes: which of the tensors that the architecture must have are constants."""
    own = found.fields.get("nanograd")
    kinds = {"bias": bool, "qkv_bias": bool, "qk_norm": str}
    if not isinstance(own, dict):
        return {}
    return {name: own[name] for name, kind in kinds.items() if type(own.get(name)) is kind}


def refuse_windows(found: Fields, block_size: int) -> None:
    """Attention that does not see all that was before, of whatever kind."""
    window, used = found.take("sliding_window"), found.take("use_sliding_window", True)
    kinds = found.take("layer_types", [])
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        other = next((kind for kind in kinds if kind != "full_attention"), kinds) if isinstance(kinds, list) else kinds
        raise found.error(f"layer_types {other!r:.60} is not supported: full_attention is")
    if window is not None and used and not (type(window) is int and window >= block_size) and not kinds:
        raise found.error(f"sliding_window {window!r:.60} is not supported: attention to all that was before is")


def rope(found: Fields) -> dict[str, Any]:
    """Our fields for the rotation: version 5 of transformers writes rope_parameters, those before two fields."""
    settings = found.take("rope_parameters")
    scaling = found.take("rope_scaling")
    theta = found.take("rope_theta")
    for name in ("partial_rotary_factor", "rope_interleaved"):
        found.demand(
            name, (1, 1.0) if name.startswith("partial") else (False,), 1.0 if name.startswith("partial") else False
        )
    settings = scaling if settings is None else settings
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise found.error(f"rope_parameters {settings!r:.60} is not supported: one set for all layers is")
    inner = Fields(settings, found.where)
    kind = inner.take("rope_type", inner.take("type", "default"))
    inner.taken.add("type")
    if kind not in ("default", "linear", "llama3"):
        raise found.error(f"RoPE scaling {kind!r:.60} is not supported: default, linear and llama3 are")
    inner.demand("partial_rotary_factor", (1, 1.0), 1.0)
    result = {"rope_theta": inner.number("rope_theta", 10000.0 if theta is None else theta, float)}
    if kind != "default":
        result |= {"rope_scaling": kind, "rope_factor": inner.number("factor", kind=float)}
        if result["rope_factor"] == 1:  # which scales nothing
            kind, result = "default", {"rope_theta": result["rope_theta"]}
            inner.taken.update({"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"})
    if kind == "llama3":
        result["rope_low_freq_factor"] = inner.number("low_freq_factor", kind=float)
        result["rope_high_freq_factor"] = inner.number("high_freq_factor", kind=float)
        result["rope_original_context"] = inner.number("original_max_position_embeddings")
    elif kind == "linear":
        inner.take("original_max_position_embeddings")
    inner.refuse_rest()
    return result
