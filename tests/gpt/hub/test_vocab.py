"""Tokenizer files of other people's models: those that are known give the same tokenizer, all others are refused."""

import io
import json

import pytest
from gpt.tokenizers import ByteLevelTokenizer, SentencePieceTokenizer, TokenizerFileError
from gpt.tokenizers.byte_level import LETTERS
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from gpt.hub.vocab import read_tokenizer
from gpt.hub.vocab_out import tokenizer_files

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]
TEXTS = "the  12 other", "<|end|>", "don't 好\n\n x"


def make(pattern="gpt2", **options) -> ByteLevelTokenizer:
    vocab = {letter: 1 + i for i, letter in enumerate([*LETTERS.values(), "th", "the", "Ġthe"])}
    return ByteLevelTokenizer(vocab, MERGES, pattern, **({"special": {"<|end|>": 0}, "ends": (0,)} | options))


def write(folder, files: dict[str, bytes]):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def assert_same(one, other):
    assert one.vocab_size == other.vocab_size and one.ends == other.ends and one.bos == other.bos
    for text in TEXTS:
        assert one.encode(text) == other.encode(text) and one.decode(one.encode(text)) == text


@pytest.mark.parametrize("pattern", ["gpt2", "smollm", "llama3", "qwen2"])
def test_a_tokenizer_json_is_read_back(tmp_path, pattern):
    bos = {"bos": 0} if pattern == "llama3" else {}
    ours = make(pattern, nfc=pattern == "qwen2", **bos)
    read = read_tokenizer(write(tmp_path, tokenizer_files(ours)), ours.vocab_size, 0)
    assert read.pattern == pattern and read.nfc == ours.nfc
    assert_same(read, ours)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_vocab_and_merges_are_gpt2s(tmp_path, end):
    ours = make(special={"<|endoftext|>": 0})
    merges = end.join(["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""])
    vocab = ours.vocab | {"<|endoftext|>": 0}
    write(tmp_path, {"vocab.json": json.dumps(vocab).encode(), "merges.txt": merges.encode()})
    read = read_tokenizer(tmp_path, ours.vocab_size, [0])
    assert read.special == {"<|endoftext|>": 0}
    assert_same(read, ours)
    assert 0 not in read.encode("<|endoftext|>")


def test_a_tokenizer_model_is_sentencepieces(tmp_path):
    out = io.BytesIO()
    lines = ["the cat sat on the mat.", "the dog ate the hat! 12"] * 30
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type="bpe", vocab_size=300, byte_fallback=True,
        normalization_rule_name="identity", minloglevel=2,
    )  # fmt: skip
    write(tmp_path, {"tokenizer.model": out.getvalue()})
    read, theirs = read_tokenizer(tmp_path, 320, 2), SentencePieceProcessor(model_proto=out.getvalue())
    assert isinstance(read, SentencePieceTokenizer) and (read.bos, read.ends, read.vocab_size) == (1, {2}, 320)
    assert read.encode("the hat of 好") == theirs.encode("the hat of 好")
    write(tmp_path, {"tokenizer_config.json": b'{"add_bos_token": false}'})
    assert read_tokenizer(tmp_path, 320, 2).bos is None
    with pytest.raises(TokenizerFileError, match="the model 100 ids"):
        read_tokenizer(tmp_path, 100, 2)


def changed(**fields):
    def change(found):
        return found | fields

    return change


def in_model(**fields):
    def change(found):
        return found | {"model": found["model"] | fields}

    return change


REFUSED = {
    "pre-tokenizer": (changed(pre_tokenizer={"type": "Metaspace"}), "pre-tokenizer Metaspace"),
    "another cut": (
        changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "ByteLevel"}]}),
        "pre-tokenizer Sequence of Whitespace, ByteLevel",
    ),
    "prefix": (changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True}), "add_prefix_space"),
    "normalizer": (changed(normalizer={"type": "Lowercase"}), "normalizer Lowercase"),
    "decoder": (changed(decoder={"type": "WordPiece"}), "decoder WordPiece"),
    "kind": (in_model(type="Unigram"), "Unigram"),
    "dropout": (in_model(dropout=0.1), "dropout"),
    "merges": (in_model(merges=["t h", "x yz"]), "do not fit its vocabulary"),
    "ids": (in_model(vocab={"a": "1"}), "damaged|whole numbers|do not fit"),
    "no vocabulary": (in_model(vocab=None), "damaged|vocab"),
    "added": (changed(added_tokens=[{"id": 3}]), "added_tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(tmp_path, name):
    change, problem = REFUSED[name]
    found = json.loads(tokenizer_files(make())["tokenizer.json"])
    write(tmp_path, {"tokenizer.json": json.dumps(change(found)).encode()})
    with pytest.raises(TokenizerFileError, match=problem) as caught:
        read_tokenizer(tmp_path, make().vocab_size)
    assert "\n" not in str(caught.value) and "tokenizer.json" in str(caught.value)


DAMAGED = {
    "no JSON": ({"tokenizer.json": b"{"}, "damaged"),
    "a list": ({"tokenizer.json": b"[]"}, "no JSON object"),
    "half a pair": ({"vocab.json": b"{}"}, "no merges.txt"),
    "no model": ({"tokenizer.model": b"xx"}, r"tokenizer\.model"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path, name):
    files, problem = DAMAGED[name]
    with pytest.raises(TokenizerFileError, match=problem):
        read_tokenizer(write(tmp_path, files), 10)


def test_without_files_every_use_says_so(tmp_path):
    tokenizer = read_tokenizer(tmp_path, 10)
    with pytest.raises(TokenizerFileError, match="has no tokenizer: neither"):
        tokenizer.encode("a")
