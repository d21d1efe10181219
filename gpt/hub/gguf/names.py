"""A GGUF file's keys -> the fields of a config.json, and its tokenizer.

llama.cpp has keys of its own for the same sizes: "llama.embedding_length" is hidden_size. Real numbers are float32
there: 9.99999975e-06 means 1e-5, the shortest number that is the same float32.
"""

from typing import Any

import numpy as np

from gpt.errors import RunError
from gpt.hub.shapes import GPT2, LLAMA, QWEN2, QWEN3
from gpt.tokenizers import (
    ByteLevelTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TokenizerError,
    TokenizerFileError,
)
from gpt.tokenizers.sentencepiece_file import CONTROL, USER_DEFINED, proto
from nanograd.layers.rope import rope_frequencies

ARCHITECTURES = {"gpt2": GPT2, "llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3}
GPT2_KEYS = {
    "context_length": "n_positions", "embedding_length": "n_embd", "feed_forward_length": "n_inner",
    "block_count": "n_layer", "attention.head_count": "n_head", "attention.layer_norm_epsilon": "layer_norm_epsilon",
}  # fmt: skip
LLAMA_KEYS = {
    "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size", "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps", "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window", "rope.freq_base": "rope_theta",
}  # fmt: skip
SCALING = "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"
ELSEWHERE = {"vocab_size", "attention.value_length", "rope.dimension_count", *SCALING}  # looked at below
PATTERNS = {"gpt-2": "gpt2", "smollm": "smollm", "llama-bpe": "llama3", "qwen2": "qwen2"}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def config_of(file) -> tuple[dict[str, Any], str]:
    """(the fields of the config.json that says the same, llama.cpp's name of the architecture) of a GGUFFile.

    Raises RunError for an architecture that is not known, or a key that nothing here knows what to do with.
    """
    architecture = file.keys.get("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise RunError(f"{file.path}: architecture {architecture!r:.60} is not supported: {known} are")
    names = GPT2_KEYS if architecture == "gpt2" else LLAMA_KEYS
    own = {k.removeprefix(f"{architecture}."): v for k, v in file.keys.items() if k.startswith(f"{architecture}.")}
    fields = {"architectures": [ARCHITECTURES[architecture]]}
    for key, value in own.items():
        value = shortest(value) if isinstance(value, float) else value
        if key in names:
            fields[names[key]] = value
        elif key not in ELSEWHERE and value:
            raise RunError(f"{file.path}: {architecture}.{key} {value!r:.60} is not supported: nothing here does that")
    fields["tie_word_embeddings"] = "output.weight" not in file.tensors
    fields["vocab_size"] = file.tensors.get("token_embd.weight", (0,))[0]
    if architecture == "gpt2":
        return fields | {"activation_function": "gelu_new"}, architecture
    if architecture == "llama":
        fields["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
        fields["mlp_bias"] = "blk.0.ffn_up.bias" in file.tensors
    heads, C = fields.get("num_attention_heads"), fields.get("hidden_size")
    D = fields.get("head_dim") or (C // heads if type(C) is type(heads) is int and heads > 0 else None)
    for key in ("rope.dimension_count", "attention.value_length"):
        if own.get(key, D) != D:
            raise RunError(f"{file.path}: {architecture}.{key} {own[key]!r:.60} is not supported: {D} channels are")
    theta = fields.pop("rope_theta", 10000.0)
    return fields | {"rope_parameters": {"rope_theta": theta, **scaling(file, own, theta, D)}}, architecture


def shortest(value: float) -> float:
    """The number with the fewest digits that is the same float32."""
    return float(str(np.float32(value)))


def scaling(file, own: dict, theta: float, D: int) -> dict[str, Any]:
    """RoPE's scaling as config.json has it. Llama 3's is a tensor here, of what each frequency is divided by."""
    kind, factor = own.get(SCALING[0], "none"), own.get(SCALING[1], 1.0)
    if "rope_freqs.weight" in file.tensors:
        ((_, found),) = file.pieces("rope_freqs.weight", whole=True)
        factor = round(float(found.max()), 3)
        ours = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192}
        plain = rope_frequencies(D, theta)
        if found.shape == plain.shape and np.isfinite(found).all() and factor > 1:
            expected = plain / rope_frequencies(D, theta, "llama3", factor, **ours)
            if np.allclose(found, expected, rtol=1e-4):
                return {"rope_type": "llama3", "factor": factor, **LLAMA3}
        raise RunError(f"{file.path}: the RoPE scaling of its rope_freqs.weight is not supported: Llama 3's is")
    if kind == "none" or (kind == "linear" and factor == 1):
        return {"rope_type": "default"}
    return {"rope_type": kind, "factor": shortest(factor)}


def tokenizer_of(file) -> Tokenizer:
    """The tokenizer of a GGUFFile. Raises TokenizerFileError for one that is damaged or of a kind not known here."""
    try:
        return read(file)
    except TokenizerFileError:
        raise
    except TokenizerError as error:
        raise TokenizerFileError(f"{file.path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError):
        raise TokenizerFileError(f"{file.path} is damaged: its tokenizer is not complete") from None


def read(file) -> Tokenizer:
    keys = {k.removeprefix("tokenizer.ggml."): v for k, v in file.keys.items() if k.startswith("tokenizer.ggml.")}
    kind, pre = keys.get("model"), keys.get("pre", "default")
    if kind is None:
        raise TokenizerFileError(f"{file.path} has no tokenizer in it")
    tokens, size = keys["tokens"], file.tensors.get("token_embd.weight", (0,))[0]
    ends = sorted({keys[name] for name in ("eos_token_id", "eot_token_id") if name in keys})
    types = keys.get("token_type", [1] * len(tokens))
    starts = keys.get("add_bos_token", kind == "llama" or pre == "llama-bpe")
    bos = keys.get("bos_token_id") if starts else None
    if len(types) != len(tokens):
        raise TokenizerFileError(f"{file.path} is damaged: {len(tokens)} tokens, and {len(types)} types of tokens")
    if kind == "llama":
        ids = {name: keys.get(f"{key}_token_id", -1) for name, key in (("eos", "eos"), ("pad", "padding"))}
        ids |= {"unk": keys.get("unknown_token_id", 0), "bos": keys.get("bos_token_id", 1)}
        pieces = zip(tokens, keys["scores"], types, strict=True)
        model = proto(pieces, ids, keys.get("add_space_prefix", True))
        return SentencePieceTokenizer(model, bos, ends, size)
    if kind != "gpt2" or pre not in PATTERNS:
        known = ", ".join(PATTERNS)
        raise TokenizerFileError(f"{file.path}: a tokenizer {kind!s:.40}, {pre!s:.40} is not supported: {known} are")
    special = {token: i for i, token in enumerate(tokens) if types[i] in (CONTROL, USER_DEFINED)}
    vocab = {token: i for i, token in enumerate(tokens) if token not in special}
    merges = [tuple(pair.split(" ")) for pair in keys["merges"]]
    options = {"special": special, "nfc": pre == "qwen2", "bos": bos, "ends": ends, "size": size}
    return ByteLevelTokenizer(vocab, merges, PATTERNS[pre], **options)
