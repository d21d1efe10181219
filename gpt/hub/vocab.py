"""The tokenizer files of other people's models -> a tokenizer of ours.

    tokenizer.json                  all in one: how a text is normalised and cut, the vocabulary, merges, special tokens
    vocab.json and merges.txt       GPT-2's pair, where there is no tokenizer.json
    tokenizer.model                 sentencepiece's, as early Llamas have it; every export of a `bpe` run has ours
    tokenizer_config.json           which tokens are special, and which start and end a text

tokenizer.json can describe far more than any model needs. What is known here is byte-level BPE with the ways of cutting
that GPT-2, SmolLM, Llama 3 and Qwen have; anything else is refused by the name of the part that is not known.
"""

from pathlib import Path
from typing import Any

from gpt.errors import RunError
from gpt.files import read_bytes
from gpt.hub.folder import read_json
from gpt.tokenizers import (
    BPETokenizer,
    ByteLevelTokenizer,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TokenizerError,
    TokenizerFileError,
)
from gpt.tokenizers.byte_level import PATTERNS

JSON, VOCAB, MERGES, MODEL = "tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model"
FILES_BYTES = 64 << 20
REGEXES = {PATTERNS[name]: name for name in ("llama3", "qwen2")} | {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2"
}


class NoTokenizer(Tokenizer):
    """Stands in where a folder has weights and no tokenizer: every use of it says so."""

    kind = "none"

    def __init__(self, problem: str, vocab_size: int):
        self.problem, self.size, self.fingerprint = problem, vocab_size, ""

    @property
    def vocab_size(self) -> int:
        return self.size

    def _refuse(self, *_):
        raise TokenizerFileError(self.problem)

    encode = decode = token_bytes = save = _refuse


def read_tokenizer(folder: Path, vocab_size: int, eos: Any = None) -> Tokenizer:
    """The tokenizer of a folder, for a model of `vocab_size` ids. `eos`: the id, or ids, that end a text.

    Raises TokenizerFileError for one that is damaged, does not fit the model or is of no known kind.
    """
    ends = [i for i in (eos if isinstance(eos, list) else [eos]) if type(i) is int and 0 <= i < vocab_size]
    try:
        if (folder / MODEL).exists():
            return from_sentencepiece(folder, vocab_size, ends)
        if (folder / JSON).exists():
            return from_tokenizer_json(folder / JSON, read_json(folder / JSON), vocab_size, ends)
        if (folder / VOCAB).exists() or (folder / MERGES).exists():
            return from_vocab_and_merges(folder, vocab_size, ends)
    except RunError as error:
        raise TokenizerFileError(str(error)) from None
    return NoTokenizer(f"{folder} has no tokenizer: neither {JSON}, nor {VOCAB} and {MERGES}, nor {MODEL}", vocab_size)


def from_sentencepiece(folder: Path, vocab_size: int, ends: list[int]) -> Tokenizer:
    """tokenizer.model: one of ours, or another program's."""
    model = read_bytes(folder / MODEL, FILES_BYTES)
    try:
        ours = BPETokenizer(model)
        if ours.vocab_size == vocab_size:
            return ours
    except TokenizerError:
        pass  # not one of ours
    path = folder / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    try:
        tokenizer = SentencePieceTokenizer(model, ends=ends, size=vocab_size)
        if config.get("add_bos_token", True) and tokenizer.processor.bos_id() >= 0:
            tokenizer = SentencePieceTokenizer(model, tokenizer.processor.bos_id(), ends, vocab_size)
    except TokenizerError as error:
        raise TokenizerFileError(f"{folder / MODEL}: {error}") from None
    return tokenizer


def from_vocab_and_merges(folder: Path, vocab_size: int, ends: list[int]) -> Tokenizer:
    """GPT-2's two files."""
    for name in (VOCAB, MERGES):
        if not (folder / name).exists():
            raise TokenizerFileError(f"{folder} has no {name}, which belongs to its tokenizer")
    vocab = read_json(folder / VOCAB)
    try:
        lines = read_bytes(folder / MERGES, FILES_BYTES).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerFileError(f"{folder / MERGES} is damaged: no UTF-8 at byte {error.start}") from None
    merges = [tuple(line.rstrip("\r").split(" ")) for line in lines if line.strip() and not line.startswith("#version")]
    special = {name: i for name, i in vocab.items() if name == "<|endoftext|>"}
    if (folder / "tokenizer_config.json").exists():
        config = read_json(folder / "tokenizer_config.json")
        kind = config.get("tokenizer_class", "GPT2Tokenizer")
        if kind not in ("GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"):
            raise TokenizerFileError(f"{folder}: a {kind!s:.60} is not supported without its {JSON}")
        if config.get("add_prefix_space"):
            raise TokenizerFileError(f"{folder}: add_prefix_space is not supported")
        special |= decoder_tokens(config.get("added_tokens_decoder"))
    if (folder / "added_tokens.json").exists():
        special |= read_json(folder / "added_tokens.json")
    return made(folder / MERGES, vocab, merges, "gpt2", special=special, ends=ends, size=vocab_size)


def decoder_tokens(added) -> dict[str, int]:
    """{name: id} of tokenizer_config.json's added_tokens_decoder."""
    if not isinstance(added, dict):
        return {}
    return {entry["content"]: int(i) for i, entry in added.items() if isinstance(entry, dict) and i.isdecimal()}


def made(path: Path, vocab, merges, pattern: str, **options) -> Tokenizer:
    """The tokenizer, or its error as one about the file."""
    if not all(isinstance(token, str) and type(i) is int for token, i in (vocab | options["special"]).items()):
        raise TokenizerFileError(f"{path} is damaged: a vocabulary maps texts to whole numbers")
    try:
        return ByteLevelTokenizer(vocab, merges, pattern, **options)
    except TokenizerError as error:
        raise TokenizerFileError(f"{path}: {error}") from None


def from_tokenizer_json(path: Path, found: dict, vocab_size: int, ends: list[int]) -> Tokenizer:
    """Byte-level BPE, or a `char` run's vocabulary as export.py writes it."""
    model = found.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise TokenizerFileError(
            f"{path}: it has no model with a vocabulary; is it a tokenizer of Hugging Face's kind?"
        )
    if model.get("type", "BPE") != "BPE":
        raise TokenizerFileError(f"{path}: a model of type {model['type']!r:.40} is not supported: BPE is")
    if is_char(found):
        return char_tokenizer(path, model["vocab"])
    pattern = pattern_of(path, found.get("pre_tokenizer"))
    normalizer = found.get("normalizer")
    if kind_of(normalizer) not in (None, "NFC"):
        raise refused(path, "normalizer", normalizer)
    if kind_of(found.get("decoder")) not in (None, "ByteLevel"):
        raise refused(path, "decoder", found["decoder"])
    for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name) and not (name == "unk_token" and model[name] in special_tokens(path, found)):
            raise TokenizerFileError(f"{path}: {name} {model[name]!r:.40} is not supported in byte-level BPE")
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model.get("merges", [])]
    special = special_tokens(path, found)
    bos = template_start(found.get("post_processor"), special)
    options = {"special": special, "nfc": normalizer is not None, "bos": bos, "ends": ends, "size": vocab_size}
    return made(path, model["vocab"], merges, pattern, **options)


def special_tokens(path: Path, found: dict) -> dict[str, int]:
    """{name: id} of the tokens that were added beside the vocabulary; none of them is made of a user's text."""
    try:
        return {entry["content"]: entry["id"] for entry in found.get("added_tokens") or []}
    except (TypeError, KeyError):
        raise TokenizerFileError(f"{path} is damaged: its added_tokens have no content and id") from None


def kind_of(part) -> str | None:
    return part.get("type") if isinstance(part, dict) else None


def refused(path: Path, what: str, part) -> TokenizerFileError:
    """The error for a part of a tokenizer.json that is not known, with the names of what is inside it."""
    inner = []
    if isinstance(part, dict):
        inner = part.get("pretokenizers") or part.get("normalizers") or part.get("decoders") or []
    name = f"{kind_of(part)}"
    if isinstance(inner, list) and inner:
        name += f" of {', '.join(str(kind_of(item)) for item in inner)}"
    return TokenizerFileError(f"{path}: its {what} {name:.100} is not supported")


def pattern_of(path: Path, part) -> str:
    """Which of PATTERNS a pre-tokenizer cuts by."""
    steps = part.get("pretokenizers") if kind_of(part) == "Sequence" else [part]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise refused(path, "pre-tokenizer", part)
    last, cuts = steps[-1], steps[:-1]
    if kind_of(last) != "ByteLevel" or last.get("add_prefix_space"):
        what = "pre-tokenizer with add_prefix_space," if kind_of(last) == "ByteLevel" else "pre-tokenizer"
        raise refused(path, what, part)
    own_cut = last.get("use_regex", True)
    if own_cut and not cuts:
        return "gpt2"
    if own_cut and [kind_of(cut) for cut in cuts] == ["Digits"] and cuts[0].get("individual_digits"):
        return "smollm"
    if not own_cut and [kind_of(cut) for cut in cuts] == ["Split"]:
        (cut,) = cuts
        regex = cut.get("pattern", {}).get("Regex") if isinstance(cut.get("pattern"), dict) else None
        plain = cut.get("behavior") == "Isolated" and not cut.get("invert")
        if plain and regex in REGEXES:
            return REGEXES[regex]
        raise TokenizerFileError(
            f"{path}: its pre-tokenizer Split by {regex or cut.get('pattern')!r:.80} is not supported"
        )
    raise refused(path, "pre-tokenizer", part)


def template_start(processor, special: dict[str, int]) -> int | None:
    """The id that a post-processor puts in front of a text, if it does."""
    steps = processor.get("processors") if kind_of(processor) == "Sequence" else [processor]
    for step in steps if isinstance(steps, list) else []:
        single = step.get("single") if kind_of(step) == "TemplateProcessing" else None
        first = single[0] if isinstance(single, list) and single else None
        token = first.get("SpecialToken") if isinstance(first, dict) else None
        if isinstance(token, dict):
            return special.get(token.get("id"))
    return None


def is_char(found: dict) -> bool:
    """Is this how a `char` run is exported?"""
    model = found["model"]
    plain = kind_of(found.get("decoder")) == "Fuse" and not found.get("pre_tokenizer") and not found.get("normalizer")
    return plain and not model.get("merges") and all(len(token) == 1 for token in model["vocab"])


def char_tokenizer(path: Path, vocab: dict) -> Tokenizer:
    characters = "".join(sorted(vocab, key=vocab.get)) if all(type(i) is int for i in vocab.values()) else ""
    tokenizer = CharTokenizer(characters or " ")
    if tokenizer.ids != vocab:
        raise TokenizerFileError(f"{path} is damaged: its characters are not in the order of their code points")
    return tokenizer
