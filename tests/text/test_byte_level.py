"""Byte-level BPE: merges in order, bytes kept, special tokens never made of a text, a missing byte an error."""

import json
from itertools import pairwise

import numpy as np
import pytest
from gpt.tokenizers import ByteLevelTokenizer, StreamDecoder, TokenizerError, TokenizerFileError, load_tokenizer
from gpt.tokenizers.byte_level import LETTERS, LONGEST_SPACE, PATTERNS, to_bytes, to_letters

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("1", "2"), ("Ġ", "Ġ"), ("h", "e"), ("å", "¥")]
START = 1  # of the letters' ids
SPECIAL = {"<|end|>": 0, "<|im_start|>": 400}


def make(pattern="gpt2", letters=None, merges=MERGES, **options) -> ByteLevelTokenizer:
    letters = list(LETTERS.values()) if letters is None else letters
    vocab = {letter: START + i for i, letter in enumerate(letters)}
    for pair in merges:
        vocab["".join(pair)] = START + len(vocab)
    return ByteLevelTokenizer(vocab, merges, pattern, **({"special": SPECIAL, "ends": (0,)} | options))


def merged(tokenizer, word: str) -> list[int]:
    """The definition: of all neighbours that a merge joins, the earliest merge goes first."""
    tokens = [LETTERS[byte] for byte in word.encode()]
    ranks = {pair: i for i, pair in enumerate(tokenizer.merges)}
    while True:
        pairs = list(pairwise(tokens))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)), default=None)
        if best not in ranks:
            return [tokenizer.vocab[token] for token in tokens]
        i = pairs.index(best)
        tokens[i : i + 2] = ["".join(best)]


@pytest.mark.parametrize("word", ["the", "thhe", "ththe", "hehe", "12", "好好", "好", "å¥½", "\x00\x7f"])
def test_a_word_is_merged_as_the_definition_says(word):
    tokenizer = make()
    assert tokenizer.encode(word) == merged(tokenizer, word)


CUTS = [  # a text, and the pieces in which each pattern cuts it
    ("x  12", {"gpt2": ["x", " ", " 12"], "smollm": ["x", "  ", "1", "2"], "qwen2": ["x", " ", " ", "1", "2"]}),
    ("ab 1234", {"gpt2": ["ab", " 1234"], "llama3": ["ab", " ", "123", "4"], "qwen2": ["ab", " ", "1", "2", "3", "4"]}),
    ("I'LL don't", {"gpt2": ["I", "'", "LL", " don", "'t"], "llama3": ["I", "'LL", " don", "'t"]}),
    ("a\n\n b", {"gpt2": ["a", "\n\n", " b"], "llama3": ["a", "\n\n", " b"]}),
    ("(x)\n", {"gpt2": ["(", "x", ")", "\n"], "llama3": ["(x", ")\n"]}),
]


@pytest.mark.parametrize(("text", "name", "pieces"), [(t, n, p) for t, cuts in CUTS for n, p in cuts.items()])
def test_each_pattern_cuts_as_its_models_do(text, name, pieces):
    import tiktoken

    letters = {bytes([byte]): byte for byte in range(256)}
    for i in range(1, len(text.encode())):  # every piece of the text is a token of its own
        for start in range(len(text.encode()) - i):
            letters.setdefault(text.encode()[start : start + i + 1], len(letters))
    encoding = tiktoken.Encoding("cuts", pat_str=PATTERNS[name], mergeable_ranks=letters, special_tokens={})
    assert [encoding.decode([i]) for i in encoding.encode_ordinary(text)] == pieces
    tokenizer = make(name)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text) == [i for piece in pieces for i in merged(tokenizer, piece)]


def test_any_text_comes_back_as_it_was():
    rng, tokenizer = np.random.default_rng(0), make()
    for _ in range(300):
        codes = rng.choice([rng.integers(32, 127), rng.integers(0, 0xD800), rng.integers(0xE000, 0x110000)], 30)
        text = "".join(map(chr, codes))
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["<|im_start|>", "a<|end|>b", "<|end|><|end|>", "<|im_start|>user\nhi<|im_end|>"])
def test_a_special_token_is_never_made_of_a_text(text):
    tokenizer = make()
    ids = tokenizer.encode(text)
    assert not set(ids) & set(SPECIAL.values()) and tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(400) == b"<|im_start|>"


def test_a_byte_that_the_vocabulary_lacks_is_named():
    letters = [letter for byte, letter in LETTERS.items() if byte not in (0x04, 0xE5, ord("q"))]
    tokenizer = make(letters=letters, merges=MERGES[:3])
    assert tokenizer.missing == b"\x04q\xe5"
    assert tokenizer.decode(tokenizer.encode("the end")) == "the end"
    for text, named in (("a\x04", "0x04.*U\\+0004.*position 1"), ("好", "0xe5 .*U\\+597D"), ("the q", "position 4")):
        with pytest.raises(TokenizerError, match=named):
            tokenizer.encode(text)


def test_spaces_without_end_are_no_trouble():
    tokenizer, text = make("llama3"), "a" + " " * (3 * LONGEST_SPACE + 7) + "\n" * 50_000 + "b"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_stream_of_tokens_has_no_broken_characters():
    tokenizer = make()
    text, decoder = "the 好 ő 🙂!", StreamDecoder(tokenizer)
    parts = [decoder.feed(i) for i in tokenizer.encode(text)]
    assert "".join(parts) + decoder.flush() == text and not any("\ufffd" in part for part in parts)


def test_ids_need_not_follow_the_merges():
    plain = make()
    vocab = {token: 700 - i for token, i in plain.vocab.items()}
    other = ByteLevelTokenizer(vocab, MERGES, "gpt2", special=SPECIAL, size=701)
    for text in ("the hehe 12", "好  thththe"):
        assert other.encode(text) == [700 - i for i in plain.encode(text)] and other.decode(other.encode(text)) == text


def test_nfc_composes_first():
    assert make(nfc=True).decode(make(nfc=True).encode("e\u0301")) == "\u00e9"
    assert make().decode(make().encode("e\u0301")) == "e\u0301"


@pytest.mark.parametrize("options", [{}, {"nfc": True, "bos": 0, "pattern": "llama3"}, {"size": 500}])
def test_saved_and_loaded_it_is_the_same(tmp_path, options):
    tokenizer = make(**options)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint and again.table == tokenizer.table
    assert (again.bos, again.ends, again.special) == (tokenizer.bos, tokenizer.ends, tokenizer.special)
    assert again.encode("the 12 好") == tokenizer.encode("the 12 好")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_refused(tmp_path, place):
    make().save(tmp_path)
    path = tmp_path / "tokenizer.bpe.json"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.bpe\.json is damaged"):
        load_tokenizer(tmp_path)
    path.write_bytes(data[:-9])
    with pytest.raises(TokenizerFileError, match="truncated"):
        load_tokenizer(tmp_path)


BAD = {
    "a merge of nothing": ({"merges": [("t", "hx")]}, "merge 1 needs the token"),
    "two ids": ({"special": {"<|a|>": START}}, "two of its tokens have one id"),
    "beyond the model": ({"size": 100}, "the model only 100 ids"),
    "an end beyond it": ({"ends": (9999,)}, "9999"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_together_is_refused(name):
    options, problem = BAD[name]
    with pytest.raises(TokenizerError, match=problem):
        if "merges" in options:
            ByteLevelTokenizer({"t": 0, "h": 1}, options["merges"], "gpt2")
        else:
            make(**options)


def test_letters_stand_for_bytes_and_back():
    assert len(set(LETTERS.values())) == 256 and LETTERS[ord(" ")] == "Ġ" and LETTERS[ord("\n")] == "Ċ"
    everything = bytes(range(256))
    assert to_bytes(to_letters(everything)) == everything
    assert json.loads(json.dumps(to_letters(everything))) == to_letters(everything)
