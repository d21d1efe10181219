"""A tokenizer of ours -> the files that Hugging Face's AutoTokenizer loads.

`bpe` is sentencepiece's BPE. Its pieces are written with real spaces, and nothing is normalised or cut beforehand, so a
▁ in a text has no piece and falls back to its bytes, as with us. Two neighbours are merged if the two together are a
piece; sentencepiece takes the best score first, and a list of merges says the same: every split of a piece into two
pieces, the best first.

`char` is a BPE without merges. A character that it does not know is dropped there, where ours says so.

The class must be PreTrainedTokenizerFast: with another one, or none, some models rebuild a tokenizer of their own.
"""

import json

from gpt.errors import UsageError
from gpt.tokenizers import BPETokenizer, ByteLevelTokenizer, CharTokenizer, SentencePieceTokenizer, Tokenizer
from gpt.tokenizers.bpe_model import N_FIXED, SPACE_SIGN
from gpt.tokenizers.byte_level import PATTERNS

GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """{file: its bytes}. Raises UsageError for a kind that cannot be written."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": tokenizer.bos is not None}
        return {"tokenizer.model": tokenizer.model, "tokenizer_config.json": dump(settings)}
    makers = {BPETokenizer: bpe_json, CharTokenizer: char_json, ByteLevelTokenizer: byte_level_json}
    maker = makers.get(type(tokenizer))
    if maker is None:
        raise UsageError(f"a tokenizer of the kind {tokenizer.kind} cannot be exported")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if isinstance(tokenizer, ByteLevelTokenizer):
        names = {i: name for name, i in tokenizer.special.items()}
        if tokenizer.bos in names:
            settings["bos_token"] = names[tokenizer.bos]
        ends = [names[i] for i in sorted(tokenizer.ends) if i in names]
        settings |= {"eos_token": ends[0]} if ends else {}
    files = {"tokenizer.json": dump(maker(tokenizer)), "tokenizer_config.json": dump(settings)}
    if isinstance(tokenizer, BPETokenizer):
        files["tokenizer.model"] = tokenizer.model  # sentencepiece's own file, for those who use that; and for import
    return files


def dump(value: dict) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def frame(model: dict, **parts) -> dict:
    """A tokenizer.json around a model, with the parts that are given."""
    names = "normalizer", "pre_tokenizer", "post_processor", "decoder"
    rest = {name: parts.get(name) for name in names}
    added = parts.get("added_tokens", [])
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **rest, "model": model}


def bpe_model(vocab: dict[str, int], merges: list, **options) -> dict:
    fields = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    return {
        "type": "BPE",
        **fields,
        "fuse_unk": False,
        "byte_fallback": False,
        **options,
        "vocab": vocab,
        "merges": merges,
    }


def bpe_json(tokenizer: BPETokenizer) -> dict:
    processor = tokenizer.processor
    pieces = [processor.id_to_piece(i) for i in range(tokenizer.vocab_size)]
    vocab = {piece if i < N_FIXED else piece.replace(SPACE_SIGN, " "): i for i, piece in enumerate(pieces)}
    scores = [processor.get_score(i) for i in range(tokenizer.vocab_size)]
    ordinary = {piece: i for piece, i in vocab.items() if i >= N_FIXED}
    ranked = []
    for piece, i in ordinary.items():
        for cut in range(1, len(piece)):
            left, right = ordinary.get(piece[:cut]), ordinary.get(piece[cut:])
            if left is not None and right is not None:
                ranked.append((-scores[i], left, right, piece[:cut], piece[cut:]))
    merges = [[left, right] for *_, left, right in sorted(ranked)]
    model = bpe_model(vocab, merges, unk_token="<unk>", byte_fallback=True)
    return frame(model, decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})


def char_json(tokenizer: CharTokenizer) -> dict:
    return frame(bpe_model(dict(tokenizer.ids), []), decoder={"type": "Fuse"})


def byte_level_json(tokenizer: ByteLevelTokenizer) -> dict:
    """The tokenizer as it came, but for tokens that others would make of a text although they are special."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    if tokenizer.pattern == "gpt2":
        pre = byte_level | {"use_regex": True}
    elif tokenizer.pattern == "smollm":
        cuts = [{"type": "Digits", "individual_digits": True}, byte_level | {"use_regex": True}]
        pre = {"type": "Sequence", "pretokenizers": cuts}
    else:
        regex = {
            "type": "Split",
            "pattern": {"Regex": PATTERNS[tokenizer.pattern]},
            "behavior": "Isolated",
            "invert": False,
        }
        pre = {"type": "Sequence", "pretokenizers": [regex, byte_level | {"use_regex": False}]}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": name, **flags} for name, i in sorted(tokenizer.special.items(), key=lambda x: x[1])]
    merges = [list(pair) for pair in tokenizer.merges]
    model = bpe_model(tokenizer.vocab | tokenizer.special, merges, ignore_merges=tokenizer.pattern == "llama3")
    parts = {"pre_tokenizer": pre, "decoder": byte_level | {"use_regex": True}, "added_tokens": added}
    if tokenizer.nfc:
        parts["normalizer"] = {"type": "NFC"}
    if tokenizer.bos is not None:
        name = next(name for name, i in tokenizer.special.items() if i == tokenizer.bos)
        first = {"SpecialToken": {"id": name, "type_id": 0}}
        text, more = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
        parts["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text, {"SpecialToken": {"id": name, "type_id": 1}}, more],
            "special_tokens": {name: {"id": name, "ids": [tokenizer.bos], "tokens": [name]}},
        }
    return frame(model, **parts)
