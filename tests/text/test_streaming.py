"""Streamed text: never half a character, never a byte lost."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizers import BPETokenizer, CharTokenizer, StreamDecoder, TokenizerError


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train("the cat sat on the mat\n" * 9)


def spelled(data):
    """The ids of the byte tokens."""
    return [1 + byte for byte in data]


def test_an_unfinished_character_waits(bpe):
    stream = StreamDecoder(bpe)
    pieces = [stream.feed(i) for i in spelled("好🦆é!".encode())]
    assert pieces == ["", "", "好", "", "", "", "🦆", "", "é", "!"]
    assert stream.flush() == ""


@given(st.text())
@settings(deadline=None)
def test_a_text_streams_without_a_broken_character(bpe, text):
    stream = StreamDecoder(bpe)
    pieces = [stream.feed(i) for i in bpe.encode(text)]
    assert stream.pending == b"" and stream.flush() == ""
    assert "".join(pieces) == text
    assert "".join(pieces).count("\ufffd") == text.count("\ufffd")


@given(st.lists(st.integers(0, 262)), st.integers(1, 5))
@example(spelled(b"\xe5\xa5A\xf0\x9f\xa6\xff\xc0\x80\xed\xa0\x80"), 1)
@settings(deadline=None, max_examples=300)
def test_any_ids_stream_as_they_decode_whatever_the_steps(bpe, ids, step):
    stream = StreamDecoder(bpe)
    pieces = [stream.feed(ids[i : i + step]) for i in range(0, len(ids), step)]
    assert len(stream.pending) <= 3
    assert "".join(pieces) + stream.flush() == bpe.decode(ids)


def test_a_stream_that_breaks_off_says_so_once(bpe):
    stream = StreamDecoder(bpe)
    assert stream.feed(spelled("好".encode()[:2])) == ""
    assert stream.pending == "好".encode()[:2]
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    assert stream.feed(spelled("好".encode())) == "好"  # and starts anew


def test_bytes_that_can_be_no_character_do_not_wait(bpe):
    stream = StreamDecoder(bpe)
    assert stream.feed(spelled(b"\xe5\xa5")) == ""
    assert stream.feed(spelled(b"A")) == "\ufffdA"
    assert stream.feed(spelled(b"\xff")) == "\ufffd"


def test_char_tokens_are_whole(bpe):
    tokenizer = CharTokenizer.train("好🦆")
    stream = StreamDecoder(tokenizer)
    assert [stream.feed(i) for i in tokenizer.encode("🦆好")] == ["🦆", "好"]


def test_an_unknown_id_is_refused_and_nothing_is_lost(bpe):
    stream = StreamDecoder(bpe)
    stream.feed(spelled("好".encode()[:1]))
    with pytest.raises(TokenizerError, match="not in the vocabulary"):
        stream.feed([5, 10_000])
    assert stream.feed(spelled("好".encode()[1:])) == "好"
