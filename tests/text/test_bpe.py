"""The BPE tokenizer: lossless for every Unicode string, silent, deterministic, and safe against its own files."""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import ROOT
from tests.support.marks import slow
from tests.support.texts import EIGHT_LINES
from tokenizers import BPETokenizer, TokenizerError
from tokenizers.bpe import SLICE, slices
from tokenizers.bpe_training import BLOCK, MOST_BLOCKS, take_sample

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


@pytest.mark.slow
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
@pytest.mark.parametrize("size", [-1, slow(0), 257, 5000, slow(65_537), 10**30])
def test_the_size_named_in_an_error_works(text, size):
    with pytest.raises(TokenizerError, match=f"vocab_size {size} is too") as error:
        BPETokenizer.train(text, size)
    assert "\n" not in str(error.value)
    named = size_named(error)
    assert BPETokenizer.train(text, named).vocab_size == named
    if size == 5000:  # and it is the largest, with no holes below, and with a piece for every character
        for works in range(258, named, 1 + (named - 258) // 4):
            assert BPETokenizer.train(text, works).vocab_size == works
        assert {*text} - {*"\n▁▅"} <= {piece.decode() for piece in BPETokenizer.train(text, named).table[257:]}
        with pytest.raises(TokenizerError, match=f"{named + 1} is too large .* works is {named}$"):
            BPETokenizer.train(text, named + 1)


@pytest.mark.slow
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
