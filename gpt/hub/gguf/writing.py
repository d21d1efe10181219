"""A run as a GGUF file, which llama.cpp runs: architecture llama, or gpt2 with its tanh GELU and tied or untied head.

llama.cpp multiplies with matrices as (out, in), and rotates pairs of channels side by side, so rows of q and k change
places (layout.py). Its gpt2 has every bias: zeros where ours has none. Written by llama.cpp's package `gguf`.

Tokenizers: `bpe` is its kind "llama" (sentencepiece's BPE with byte fallback), without a space in front; `char` cannot
be said there, because a character without a piece needs bytes to fall back to; byte-level BPE is its kind "gpt2".
"""

from pathlib import Path

import numpy as np

from gpt.errors import RunError, UsageError
from gpt.files import explained, temporary_name
from gpt.hub.export import config_fields, exported_shape
from gpt.hub.gguf.names import ARCHITECTURES, GPT2_KEYS, LLAMA_KEYS, PATTERNS
from gpt.hub.gguf.reading import NEEDED
from gpt.hub.layout import gguf_layout
from gpt.hub.load import Loaded
from gpt.hub.shapes import Shape
from gpt.hub.weights import take
from gpt.tokenizers import BPETokenizer, ByteLevelTokenizer
from gpt.tokenizers.bpe_model import BYTE, N_FIXED, NORMAL, UNKNOWN
from gpt.tokenizers.sentencepiece_file import CONTROL, UNUSED

EXPORTED = {ARCHITECTURES[name]: name for name in ("llama", "gpt2")}


def export_gguf(loaded: Loaded, out: Path) -> str:
    """Write the file `out`, which must not exist; returns llama.cpp's name of the architecture.

    Raises UsageError for a model or tokenizer that has no name there, RunError without the package gguf.
    """
    config, tokenizer = loaded.model.config, loaded.tokenizer
    if out.exists():
        raise UsageError(f"{out} exists: name a new file")
    try:
        import gguf
    except ModuleNotFoundError:
        raise RunError(NEEDED) from None
    shape = exported_shape(config)
    architecture = EXPORTED.get(shape.architecture)
    if architecture is None:
        raise UsageError(f"a {shape.architecture} is not exported as GGUF: {' and '.join(EXPORTED)} are")
    if architecture == "gpt2" and config.activation != "gelu":
        raise UsageError(
            f"llama.cpp has no gpt2 with --activation {config.activation}: with --activation gelu it could run it"
        )
    if config.rope_scaling == "llama3":
        raise UsageError("--rope_scaling llama3 is not exported as GGUF: none and linear are")
    temporary = temporary_name(out.absolute().parent)
    with explained("write", out):
        try:
            writer = gguf.GGUFWriter(temporary, architecture)
            for key, value in keys_of(shape, tokenizer, architecture).items():
                add_number(writer, key, value)
            if config.rope_scaling == "linear":
                writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
                writer.add_rope_scaling_factor(config.rope_factor)
            add_tokenizer(writer, tokenizer)
            layout, state = gguf_layout(shape.layout, architecture, config), loaded.model.state_dict(copy=False)
            for name, parts in layout.items():
                for part in parts:
                    writer.add_tensor(part.name, np.ascontiguousarray(take(state.get(name), part), dtype=np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            temporary.rename(out.absolute())
        finally:
            temporary.unlink(missing_ok=True)
    return architecture


def keys_of(shape: Shape, tokenizer, architecture: str) -> dict[str, int | float]:
    """The sizes, under llama.cpp's names; what config.json says of them."""
    config, fields = shape.config, config_fields(shape, tokenizer)
    names = GPT2_KEYS if architecture == "gpt2" else LLAMA_KEYS
    keys = {f"{architecture}.{key}": fields[theirs] for key, theirs in names.items() if theirs in fields}
    if architecture == "llama":
        keys |= {f"llama.{key}": config.head_channels for key in ("rope.dimension_count", "attention.value_length")}
    return keys | {f"{architecture}.vocab_size": config.vocab_size}


def add_number(writer, key: str, value: int | float) -> None:
    writer.add_float32(key, value) if isinstance(value, float) else writer.add_uint32(key, value)


def add_tokenizer(writer, tokenizer) -> None:
    size = tokenizer.vocab_size
    if isinstance(tokenizer, BPETokenizer):
        processor = tokenizer.processor
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([processor.id_to_piece(i) for i in range(size)])
        writer.add_token_scores([processor.get_score(i) for i in range(size)])
        writer.add_token_types([UNKNOWN, *[BYTE] * (N_FIXED - 1), *[NORMAL] * (size - N_FIXED)])
        writer.add_add_space_prefix(False)
        writer.add_unk_token_id(0)
    elif isinstance(tokenizer, ByteLevelTokenizer):
        tokens, kinds = [f"[UNUSED{i}]" for i in range(size)], [UNUSED] * size
        for token, i in (tokenizer.vocab | tokenizer.special).items():
            tokens[i], kinds[i] = token, CONTROL if token in tokenizer.special else NORMAL
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre({ours: theirs for theirs, ours in PATTERNS.items()}[tokenizer.pattern])
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    else:
        raise UsageError(f"a tokenizer of the kind {tokenizer.kind} is not exported as GGUF: bpe and byte_level are")
    writer.add_add_bos_token(tokenizer.bos is not None)
    if tokenizer.bos is not None:
        writer.add_bos_token_id(tokenizer.bos)
    if tokenizer.ends:
        writer.add_eos_token_id(min(tokenizer.ends))
