"""A run as a folder that Hugging Face's libraries load, or as a file that llama.cpp runs.

    python -m gpt.hub export out/tales OUT                        config.json, model.safetensors, tokenizer.json, ...
    python -m gpt.hub export out/tales tales.gguf --format gguf

AutoModelForCausalLM.from_pretrained(OUT) and AutoTokenizer.from_pretrained(OUT) need no network and no code of ours.
What those libraries have no class for is refused, with the flags that would have made a model they know.

A class may demand tensors that our model does without: GPT2LMHeadModel's biases, the weights of Qwen3's QK-norm. They
are written as the zeros and ones that change nothing, and config.json says so under "nanograd", so that importing the
folder gives the run's own model again.
"""

import json
from pathlib import Path

import numpy as np

from gpt.config.options import GPTConfig
from gpt.errors import UsageError
from gpt.files import atomic_file, make_folder, new_folder, rename, sync_folder, try_to_remove, write_bytes
from gpt.hub.folder import CONFIG, WEIGHTS
from gpt.hub.layout import gpt2_layout, llama_layout
from gpt.hub.load import Loaded
from gpt.hub.model_card import model_card
from gpt.hub.shapes import ACTIVATIONS, GPT2, LLAMA, MODEL_TYPES, QWEN2, QWEN3, Shape
from gpt.hub.vocab_out import tokenizer_files
from gpt.hub.weights import take
from gpt.tensors.safetensors import write_safetensors

NAMES = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}  # relu: relu, gelu: gelu_new
FORMATS = "hf", "gguf"


def export_folder(loaded: Loaded, out: Path) -> Shape:
    """Write the folder `out`, which must not exist or be empty; there it is whole or not at all.

    Raises UsageError for a model that has no class, or a folder that holds something; RunError if the disk fails.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    shape = exported_shape(model.config)
    check_empty(out)
    files = {CONFIG: to_json(config_fields(shape, tokenizer)), "generation_config.json": generation(tokenizer)}
    files |= tokenizer_files(tokenizer)
    files["README.md"] = model_card(loaded, shape).encode("utf-8")
    make_folder(out.absolute().parent)
    temporary = new_folder(out.absolute().parent, shown=out)
    try:
        for name, data in files.items():
            write_bytes(temporary / name, data)
        with atomic_file(temporary / WEIGHTS) as file:
            write_safetensors(file, tensors(model.state_dict(copy=False), shape), metadata={"format": "pt"})
        sync_folder(temporary)
        if out.exists():
            out.rmdir()
        rename(temporary, out.absolute())
        sync_folder(out.absolute().parent)
    except BaseException:
        try_to_remove(temporary)
        raise
    return shape


def check_empty(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is a file, not a folder")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} holds something: name an empty or a new folder")


def tensors(state: dict[str, np.ndarray], shape: Shape) -> dict[str, np.ndarray]:
    """Their tensors, by name, of the arrays of ours: views of them where that can be."""
    prefix = "transformer." if shape.architecture == GPT2 else ""
    found = {}
    for name, parts in shape.layout.items():
        for part in parts:
            known = f"{prefix}{part.name}" if part.name != "lm_head.weight" else part.name
            found[known] = take(state.get(name), part)
            if name not in state:
                found[known] = found[known].astype(state["wte.weight"].dtype)
    return found


def exported_shape(config: GPTConfig) -> Shape:
    """The architecture that computes what our model does, and its layout. Raises UsageError if there is none."""
    grouped = config.kv_heads != config.n_head or config.head_channels * config.n_head != config.n_embd
    if config.norm == "layernorm" and config.position == "learned":
        problems = {
            f"--activation {config.activation}": config.activation == "swiglu",
            f"--n_kv_head {config.n_kv_head} and --head_dim {config.head_dim}": grouped,
            f"--qk_norm {config.qk_norm}": config.qk_norm != "none",
        }
        refuse(problems, "GPT2LMHeadModel", "--activation relu, gelu or relu2, as many heads of keys, no QK-norm")
        return Shape(config, gpt2_layout(config), GPT2)
    problems = {
        f"--norm {config.norm} with --position {config.position}": config.norm != "rmsnorm"
        or config.position != "rope",
        f"--activation {config.activation} with --position {config.position}": config.activation != "swiglu",
    }
    refuse(problems, "LlamaForCausalLM", "--norm rmsnorm --position rope --activation swiglu")
    if config.qk_norm != "none":
        refuse({"--bias with --qk_norm": config.bias}, "Qwen3ForCausalLM", "--no_bias")
        return Shape(config, llama_layout(config, config.qkv_bias, config.qkv_bias, False, True), QWEN3)
    if config.qkv_bias and not config.bias:
        refuse({"--head_dim with --qkv_bias": config.head_dim is not None}, "Qwen2ForCausalLM", "no --head_dim")
        return Shape(config, llama_layout(config, True, False, False, False), QWEN2)
    return Shape(config, llama_layout(config, config.bias, config.bias, config.bias, False), LLAMA)


def refuse(problems: dict[str, bool], architecture: str, flags: str) -> None:
    for what, wrong in problems.items():
        if wrong:
            raise UsageError(
                f"Hugging Face has no class for {what}; the nearest is {architecture}, and a model trained with "
                f"{flags} can be exported as that"
            )


def config_fields(shape: Shape, tokenizer) -> dict:
    """config.json."""
    config, architecture = shape.config, shape.architecture
    ends = sorted(tokenizer.ends)
    fields = {
        "architectures": [architecture],
        "model_type": next(name for name, known in MODEL_TYPES.items() if known == architecture),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_weights,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": (ends[0] if len(ends) == 1 else ends) if ends else None,
        "pad_token_id": None,
    }
    own = {}
    if architecture == GPT2:
        fields |= {
            "n_positions": config.block_size,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": config.inner_channels,
            "activation_function": NAMES[config.activation],
            "layer_norm_epsilon": config.norm_eps,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }
        if not (config.bias and config.qkv_bias):
            own = {"bias": config.bias, "qkv_bias": config.qkv_bias}
        return fields | ({"nanograd": own} if own else {})
    fields |= {
        "max_position_embeddings": config.block_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.inner_channels,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, **rope_fields(config)},
    }
    if rope_fields(config)["rope_type"] != "default":
        fields["rope_scaling"] = rope_fields(config)
    if architecture != QWEN2:
        fields["head_dim"] = config.head_channels
        fields["attention_bias"] = config.qkv_bias if architecture == QWEN3 else config.bias
    if architecture == LLAMA:
        fields["mlp_bias"] = config.bias
    else:
        fields |= {"use_sliding_window": False, "sliding_window": None}
    if architecture == LLAMA and config.bias and not config.qkv_bias:
        own = {"bias": True, "qkv_bias": False}
    if architecture == QWEN3 and (config.qkv_bias or config.qk_norm == "rms"):
        own = {"bias": False, "qkv_bias": config.qkv_bias, "qk_norm": config.qk_norm}
    return fields | ({"nanograd": own} if own else {})


def rope_fields(config: GPTConfig) -> dict:
    if config.rope_scaling == "none":
        return {"rope_type": "default"}
    fields = {"rope_type": config.rope_scaling, "factor": config.rope_factor}
    if config.rope_scaling == "llama3":
        fields["low_freq_factor"] = config.rope_low_freq_factor
        fields["high_freq_factor"] = config.rope_high_freq_factor
        fields["original_max_position_embeddings"] = config.rope_original_context
    return fields


def generation(tokenizer) -> bytes:
    """generation_config.json: which ids start and end a text."""
    ends = sorted(tokenizer.ends)
    fields = {"bos_token_id": tokenizer.bos, "eos_token_id": ends or None, "pad_token_id": None, "do_sample": False}
    return to_json({name: value for name, value in fields.items() if value is not None})


def to_json(fields: dict) -> bytes:
    return json.dumps(fields, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def export(loaded: Loaded, out: Path, format: str) -> str:
    """Write it, in one of FORMATS; returns a line that says what was written."""
    if format == "gguf":
        from gpt.hub.gguf.writing import export_gguf

        name = export_gguf(loaded, out)
        return f"{out}: {name}, {loaded.model.n_parameters():,} parameters, for llama.cpp"
    shape = export_folder(loaded, out)
    return f"{out}: {shape.architecture}, {loaded.model.n_parameters():,} parameters, for transformers"
