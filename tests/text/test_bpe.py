"""The BPE tokenizer: lossless for every Unicode string, silent, deterministic, and safe against its own files."""

import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import ROOT
from tokenizers import BPETokenizer, CharTokenizer, TokenizerError, TokenizerFileError, load_tokenizer
from tokenizers.bpe import SLICE, slices
from tokenizers.bpe_model import read_pieces
from tokenizers.bpe_training import BLOCK, MOST_BLOCKS, take_sample

EIGHT_LINES = """\
A small model reads a small book, and reads it again.
The more it reads, the better it knows the next word.
What it has never seen, it cannot guess.
Ask it for a story and it will tell you one.
小小的模型读一本小小的书，读了一遍又一遍。
它读得越多，就越知道下一个字是什么。
没有见过的东西，它猜不出来。
请它讲一个故事，它就讲给你听。
"""

# Everything that a tokenizer likes to normalise, strip, split on, or take for one of its own signs.
NASTY = [
    "",
    " ",
    "  double  spaces  ",
    "\t\ttabs\t",
    "\n",
    "\n\n\n \n",
    "\r\n carriage\rreturns \r\n",
    "\0",
    "a\0b\0\0",
    "\ufeffBOM \ufeff",
    "▁",
    "▁▁ ▁",
    " ▁the▁ book▁",
    "▅ and ⁇ and \ufffd",
    "<unk>",
    "<s></s><pad>",
    "<0x41><0xE2>",
    "<0x0A>\n",
    "\x00\x01\x1b[31m\x7f\x85\x9f",
    "\u2028\u2029\u00a0\u3000\u200b",
    "\ue000\uf8ff\U000f0000\U0010ffff",
    "\ufffe\uffff\ufdd0\U0001ffff",
    "e\u0301 é ﬁ Å ｆｕｌｌ ½",
    "🦆👩‍👩‍👧🏽🇨🇳",
    "עברית العربية ไทย हिन्दी 한국어 日本語",
    "𝔘𝔫𝔦 𠀀𪛖",
    "a" * 5000,
    "界" * 5000,
    " " * 5000,
    "▁" * 300,
]


@pytest.fixture(scope="module")
def small():
    return BPETokenizer.train(EIGHT_LINES)


@pytest.fixture(scope="module")
def tales():
    return BPETokenizer.train((ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:100_000])


def any_text():
    """Unicode strings of all planes, thick with the signs that sentencepiece uses itself."""
    signs = st.sampled_from([*" \n\t\0▁▅⁇\r", "  ", "<unk>", "<0x41>", "the", "小小的", "\ufeff"])
    return st.lists(st.text(max_size=8) | signs, max_size=12).map("".join)


# Lossless


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text)[1:25])
def test_a_nasty_text_decodes_to_itself(small, tales, text):
    assert small.decode(small.encode(text)) == text
    assert tales.decode(tales.encode(text)) == text
    assert tales.decode(tales.encode("the" + text + "book")) == "the" + text + "book"


@pytest.mark.parametrize("text", [text for text in NASTY if text], ids=lambda text: ascii(text)[1:25])
def test_a_tokenizer_of_a_nasty_text_is_lossless(small, text):
    tokenizer = BPETokenizer.train(text * 3)
    for other in [text, text * 2, EIGHT_LINES]:
        assert tokenizer.decode(tokenizer.encode(other)) == other


@given(any_text())
@settings(deadline=None, max_examples=300)
def test_any_text_decodes_to_itself(small, tales, text):
    for tokenizer in (small, tales):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
        assert 0 not in ids  # the unknown piece


@given(any_text().filter(bool))
@settings(deadline=None, max_examples=60)
def test_a_tokenizer_of_any_text_is_lossless(text):
    tokenizer = BPETokenizer.train(text)
    for other in (text, EIGHT_LINES):
        assert tokenizer.decode(tokenizer.encode(other)) == other


@given(any_text(), any_text())
@settings(deadline=None)
def test_chunks_add_up(tales, a, b):
    assert tales.decode(tales.encode(a) + tales.encode(b)) == a + b


def test_every_character_decodes_to_itself(small):
    everything = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)
    ids = small.encode(everything)
    assert b"".join(map(small.table.__getitem__, ids)) == everything.encode()


def test_bytes_that_are_no_text_decode_to_the_replacement_character(small):
    assert small.decode([1 + 0xE5, 1 + 0xA5]) == "\ufffd"
    assert small.decode([1 + 0xFF, 1 + ord("a")]) == "\ufffda"
    assert small.decode([0]) == ""  # the unknown piece stands for nothing


def test_a_lone_surrogate_is_refused(small):
    with pytest.raises(TokenizerError, match=r"lone surrogate \(U\+D83E\) at position 2"):
        small.encode("hi\ud83e")
    with pytest.raises(TokenizerError, match=r"U\+DC80\) at position 4"):
        BPETokenizer.train(["hi ", "x\udc80"])
    with pytest.raises(TokenizerError, match="not bytes"):
        small.encode(b"bytes")


def test_slices_are_the_text_and_do_not_change_the_ids(tales):
    text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:20_000]
    assert len(text) > 5 * SLICE
    assert tales.encode(text) == tales.processor.encode(text)
    for other in (text, text.replace("\n", " "), "x" * 3 * SLICE, "", "x" * SLICE, "\n" * (SLICE + 1)):
        assert "".join(slices(other)) == other
        assert all(0 < len(piece) <= SLICE for piece in slices(other))


# Training


def test_the_vocabulary_is_the_unknown_piece_the_bytes_and_pieces(tales):
    assert tales.token_bytes(0) == b""
    assert [tales.token_bytes(i) for i in range(1, 257)] == [bytes([i]) for i in range(256)]
    pieces = [tales.token_bytes(i) for i in range(257, tales.vocab_size)]
    assert len(set(pieces)) == len(pieces)
    assert b" the" in pieces and b" " in pieces
    assert not any(b"\n" in piece for piece in pieces)
    assert not any(b" " in piece.strip(b" ") for piece in pieces)  # no piece spans two words
    assert tales.kind == "bpe"


def test_sizes_suit_the_corpus(tales):
    chinese = (ROOT / "data" / "tales-zh.txt").read_text(encoding="utf-8")
    assert tales.vocab_size == 512
    eight = BPETokenizer.train(EIGHT_LINES)
    assert 258 < eight.vocab_size <= 512
    assert len(eight.encode(EIGHT_LINES)) > 200  # enough to be split and learned from
    tokenizer = BPETokenizer.train(chinese)
    assert tokenizer.vocab_size < 4096
    assert len(tokenizer.encode(chinese)) < len(chinese)  # shorter than its characters
    characters = {chr(c) for c in range(0x4E00, 0x4E00 + 2000)}
    wide = BPETokenizer.train("，".join(sorted(characters) * 20))
    assert wide.vocab_size > 257 + 1900  # a large alphabet has its tokens


def test_a_large_alphabet_fits_a_smaller_vocabulary():
    text = "".join(chr(0x4E00 + i) * (1 + 3000 // (i + 1)) + "。\n" for i in range(3000))
    tokenizer = BPETokenizer.train(text, 1024)
    assert tokenizer.vocab_size == 1024
    assert len(tokenizer.encode(chr(0x4E00))) == 1
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("size", [258, 259, 260, 300, 512, 700])
def test_a_size_that_is_asked_for_is_met(size):
    text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:50_000]
    assert BPETokenizer.train(text, size).vocab_size == size


def size_named(error):
    """The size that a message names as working: the last number in it."""
    return int(re.search(r"that works is (\d+)", str(error.value))[1])


@pytest.mark.parametrize("text", [EIGHT_LINES, "a", "ab" * 9, "a\nb\nc\n", "\n", "<unk>" * 5, "<0x41> " * 7, "龘▁▅"])
@pytest.mark.parametrize("size", [-1, 0, 257, 5000, 65_537, 10**30])
def test_the_size_named_in_an_error_works(text, size):
    with pytest.raises(TokenizerError, match=f"vocab_size {size} is too") as error:
        BPETokenizer.train(text, size)
    assert "\n" not in str(error.value)
    named = size_named(error)
    assert BPETokenizer.train(text, named).vocab_size == named
    if size == 5000:  # and it is the largest, with no holes below, and with a piece for every character
        for works in range(258, named, 1 + (named - 258) // 12):
            assert BPETokenizer.train(text, works).vocab_size == works
        assert {*text} - {*"\n▁▅"} <= {piece.decode() for piece in BPETokenizer.train(text, named).table[257:]}
        with pytest.raises(TokenizerError, match=f"{named + 1} is too large .* works is {named}$"):
            BPETokenizer.train(text, named + 1)


@given(any_text().filter(bool))
@settings(deadline=None, max_examples=60)
def test_the_size_named_in_an_error_works_for_any_text(text):
    with pytest.raises(TokenizerError, match="too large") as error:
        BPETokenizer.train(text, 10_000)
    named = size_named(error)
    assert BPETokenizer.train(text, named).vocab_size == named
    middle = (258 + named) // 2
    assert BPETokenizer.train(text, middle).vocab_size == middle


@pytest.mark.parametrize("size", [512.0, "512", True, [512]])
def test_a_size_that_is_no_whole_number_is_refused(size):
    with pytest.raises(TokenizerError, match="must be a whole number"):
        BPETokenizer.train(EIGHT_LINES, size)


def test_an_empty_corpus_is_refused():
    for nothing in ("", [], ["", ""]):
        with pytest.raises(TokenizerError, match="the corpus is empty"):
            BPETokenizer.train(nothing)


def test_the_same_corpus_gives_the_same_model_however_it_is_chunked():
    text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:60_000]
    model = BPETokenizer.train(text).model
    assert BPETokenizer.train(text).model == model
    for size in (997, 20_000):
        assert BPETokenizer.train(text[i : i + size] for i in range(0, len(text), size)).model == model
    assert BPETokenizer.train(text[:-100]).model != model


def test_the_sample_is_spread_over_the_corpus_and_bounded():
    blocks = [chr(0x4E00 + i) * BLOCK for i in range(2 * MOST_BLOCKS + 90)]
    sample, n = take_sample(iter(blocks))
    assert n == len(blocks) * BLOCK
    kept = "".join(dict.fromkeys(sample.replace("\n", "")))
    assert kept == "".join(block[0] for block in blocks[::4])
    assert take_sample("".join(blocks)) == (sample, n)
    whole = "".join(blocks[:MOST_BLOCKS])
    assert take_sample(whole + "rest") == ("\n".join([*blocks[:MOST_BLOCKS:2], "rest"]), len(whole) + 4)
    assert take_sample(whole) == (whole, len(whole))


def test_one_enormous_line_is_trained_on():
    words = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:200_000].replace("\n", " ")
    assert b" the" in BPETokenizer.train(words).table
    chinese = (ROOT / "data" / "tales-zh.txt").read_text(encoding="utf-8").replace("\n", "").replace("。", "")
    tokenizer = BPETokenizer.train(chinese)
    assert len(tokenizer.encode(chinese)) < len(chinese)


SILENT = """
import pathlib, sys
from tokenizers import BPETokenizer, TokenizerError, load_tokenizer
assert "sentencepiece" not in sys.modules and "numpy" not in sys.modules
text = pathlib.Path("data/tales.txt").read_text(encoding="utf-8")[:30_000] + "▅ line\\n" + "long" * 5000
tokenizer = BPETokenizer.train(text, 400)
for size in (3, 10**6):
    try:
        BPETokenizer.train("a b c", size)
    except TokenizerError:
        continue
    raise SystemExit("no error")
tokenizer.save(sys.argv[1])
assert load_tokenizer(sys.argv[1]).encode(text) == tokenizer.encode(text)
assert "numpy" not in sys.modules
"""


def test_sentencepiece_says_nothing(tmp_path):
    command = [sys.executable, "-W", "error", "-c", SILENT, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals on this system")
def test_sentencepiece_says_nothing_on_a_terminal(tmp_path):
    ours, theirs = os.openpty()
    command = [sys.executable, "-W", "error", "-c", SILENT, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, timeout=120)
    os.write(theirs, b"!")
    said = os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    assert (run.returncode, said) == (0, b"!")


# Files


def test_a_folder_is_all_that_is_needed(small, tmp_path):
    folder = tmp_path / "out" / "小 run"
    small.save(folder)
    assert sorted(os.listdir(folder)) == ["tokenizer.json", "tokenizer.model"]
    loaded = load_tokenizer(folder)
    assert type(loaded) is BPETokenizer
    assert loaded.encode(EIGHT_LINES) == small.encode(EIGHT_LINES)
    assert (loaded.vocab_size, loaded.fingerprint) == (small.vocab_size, small.fingerprint)
    assert BPETokenizer.load(folder).model == small.model
    with pytest.raises(TokenizerFileError, match="is damaged: 'characters' should be"):
        CharTokenizer.load(folder)


def test_fingerprints_tell_models_apart(small, tales):
    assert small.fingerprint != tales.fingerprint
    assert small.fingerprint == BPETokenizer.train(EIGHT_LINES).fingerprint


def damage(folder, data):
    (folder / "tokenizer.model").write_bytes(data)
    with pytest.raises(TokenizerFileError) as error:
        load_tokenizer(folder)
    assert "tokenizer.model" in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_a_damaged_model_is_refused(small, tmp_path):
    small.save(tmp_path)
    good = small.model
    for cut in range(0, len(good), 97):
        assert "truncated" in damage(tmp_path, good[:cut])
    assert "truncated or not its own" in damage(tmp_path, good + b"\0")
    rng = random.Random(0)
    for _ in range(300):
        at = rng.randrange(len(good))
        assert "SHA-256" in damage(tmp_path, good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.model is missing"):
        load_tokenizer(tmp_path)


def seal(folder, model, **changes):
    """A folder whose header vouches for whatever the model is."""
    header = {
        "version": 1,
        "kind": "bpe",
        "vocab_size": 346,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer.json").write_text(json.dumps(header | changes), encoding="utf-8")


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def message(*fields_):
    """A protocol buffer; an int is a varint, a float four bytes, the rest a length and bytes."""
    out = bytearray()  # bytes would be copied for each of 65,000 fields
    for number, value in fields_:
        wire = {int: 0, bytes: 2, float: 5}[type(value)]
        out += varint(number << 3 | wire)
        if wire == 2:
            out += varint(len(value)) + value
        else:
            out += varint(value) if wire == 0 else struct.pack("<f", value)
    return bytes(out)


def piece(text, kind=1, score=-1.0):
    return (1, message((1, text if isinstance(text, bytes) else text.encode()), (2, score), (3, kind)))


UNKNOWN_AND_BYTES = [piece("<unk>", 2), *(piece(f"<0x{i:02X}>", 6) for i in range(256))]
SETTINGS = {
    2: [(3, 2), (35, 1)],
    3: [(1, b"identity"), (2, b""), (3, 0), (4, 0)],
}


def model_of(*pieces, first=UNKNOWN_AND_BYTES, trained=SETTINGS[2], normalised=SETTINGS[3], more=()):
    return message(*first, *pieces, (2, message(*trained)), (3, message(*normalised)), *more)


SPACE = piece("▁")


def test_a_model_written_by_hand_is_accepted(tmp_path):
    model = model_of(SPACE, piece("▁a"), piece("a"))
    assert read_pieces(model)[257:] == [b" ", b" a", b"a"]
    seal(tmp_path, model, vocab_size=260)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode(" a a") == [258, 258]
    assert tokenizer.decode(tokenizer.encode(EIGHT_LINES)) == EIGHT_LINES


HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x0f" + b"x" * 50,
    "an endless number": b"\xff" * 50,
    "a group": b"\x0b\x0c",
    "a table of normalisations": model_of(
        SPACE, normalised=[*SETTINGS[3], (2, struct.pack("<I", 1 << 30) + b"x" * 64)]
    ),
    "rules of normalisation": model_of(SPACE, normalised=[*SETTINGS[3], (6, b"a\tb")]),
    "a dummy prefix": model_of(SPACE, normalised=[(2, b""), (3, 1), (4, 0)]),
    "whitespace removed by default": model_of(SPACE, normalised=[(2, b""), (3, 0)]),
    "spaces left as they are": model_of(SPACE, normalised=[*SETTINGS[3], (5, 0)]),
    "spaces as suffixes": model_of(SPACE, trained=[*SETTINGS[2], (24, 1)]),
    "a unigram model": model_of(SPACE, trained=[(3, 1), (35, 1)]),
    "no byte fallback": model_of(SPACE, trained=[(3, 2)]),
    "a denormaliser": model_of(SPACE, more=[(5, message((2, b"x" * 16)))]),
    "settings twice": model_of(SPACE, more=[(3, message((2, b"x" * 16)))]),
    "no unknown piece": model_of(SPACE, first=UNKNOWN_AND_BYTES[1:]),
    "a byte too few": model_of(SPACE, first=UNKNOWN_AND_BYTES[:-1]),
    "bytes in disorder": model_of(SPACE, first=[UNKNOWN_AND_BYTES[0], *UNKNOWN_AND_BYTES[:0:-1]]),
    "no space": model_of(piece("a")),
    "a piece twice": model_of(SPACE, piece("a"), piece("a")),
    "an empty piece": model_of(SPACE, piece("")),
    "an endless piece": model_of(SPACE, piece("a" * 100_000)),
    "a piece that is no UTF-8": model_of(SPACE, piece(b"\xff\xfe")),
    "a bare space": model_of(SPACE, piece("a b")),
    "a control piece": model_of(SPACE, piece("</s>", 3)),
    "a user-defined piece": model_of(SPACE, piece("abc", 4)),
    "a score that is no number": model_of(SPACE, piece("a", 1, float("nan"))),
    "a piece of numbers": model_of(SPACE, (1, message((1, 5), (2, 1.0)))),
    "a number for a piece": model_of(SPACE, (1, 7)),
    "65,280 pieces too many": model_of(SPACE, *(piece(chr(0x10000 + i)) for i in range(65_536))),
}


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_model_with_a_good_hash_is_refused(tmp_path, model):
    seal(tmp_path, model, vocab_size=258)
    with pytest.raises(ValueError):  # before sentencepiece sees it
        read_pieces(model)
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.model: this is no model of ours: .") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=40), st.integers(0, 10_000), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_a_model_patched_anywhere_is_refused_or_sound(small, patch, at, removed):
    """Whatever bytes are written over a good model, with a hash to match, the worst is another sound tokenizer."""
    at %= len(small.model)
    model = small.model[:at] + patch + small.model[at + removed :]
    try:
        tokenizer = BPETokenizer(model)
    except TokenizerError as error:
        assert "\n" not in str(error)
    else:
        assert tokenizer.decode(tokenizer.encode(EIGHT_LINES)) == EIGHT_LINES


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": 300}, "says 300 tokens"),
        ({"vocab_size": None}, "'vocab_size' should be a number"),
        ({"bytes": 10}, "truncated"),
        ({"bytes": -1}, "truncated"),
        ({"bytes": 1e9}, "'bytes' should be a number"),
        ({"bytes": True}, "'bytes' should be a number"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"sha256": 0}, "'sha256' should be a string"),
        ({"path": "../../etc/passwd"}, "of no meaning"),
        ({"version": 0}, "format version 0"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(small, tmp_path, changes, says):
    seal(tmp_path, small.model, **{"vocab_size": small.vocab_size} | changes)
    with pytest.raises(TokenizerFileError, match=re.escape(says)):
        load_tokenizer(tmp_path)


def test_an_enormous_model_is_refused_unread(tmp_path):
    seal(tmp_path, b"x", bytes=1 << 40)
    with open(tmp_path / "tokenizer.model", "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte, and a header that says so
    tracemalloc.start()
    with pytest.raises(TokenizerFileError, match="1,099,511,627,776 bytes, and no tokenizer"):
        load_tokenizer(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
