"""Tokens to text: no broken characters, stop strings, why it ended, Ctrl-C."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.sampling import generate as sampling
from gpt.sampling.generate import Generation, Token
from gpt.sampling.streaming import Completion, complete, start_ids
from tests.support.fake_model import FakeDecoder, saying
from tokenizers import BPETokenizer, CharTokenizer


class Bytes:
    """A tokenizer whose tokens are the 256 bytes, so that every other character spans several."""

    def token_bytes(self, token):
        return bytes([token])


def random_text(rng):
    """Up to 30 characters from all over Unicode, none of them U+FFFD."""
    ranges = [(0x20, 0x7E), (0x400, 0x4FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0x0, 0xD7FF), (0xE000, 0xFFFC)]
    ranges.append((0x10000, 0x10FFFF))
    return "".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(0, 30)))


@pytest.fixture(scope="module")
def bpe():
    rng = random.Random(1)
    return BPETokenizer.train(
        "".join(random_text(rng) + " the cat 你好 сказка 🐈\n" for _ in range(200)), vocab_size=400
    )


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_a_thousand_random_continuations_stream_without_a_broken_character(kind, bpe):
    rng = random.Random(2)
    split_somewhere = 0
    for _ in range(1000):
        text = random_text(rng)
        ids = list(text.encode()) if kind == "bytes" else bpe.encode(text)
        completion = Completion(Bytes() if kind == "bytes" else bpe)
        pieces = [completion.add(Token(i)) for i in ids] + [completion.finish("length")]
        assert "\ufffd" not in "".join(pieces)
        assert "".join(pieces) == completion.text == text
        split_somewhere += "" in pieces[:-1]
    assert split_somewhere > 500  # else nothing was tested


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")), st.integers(0, 10**6))
def test_a_cut_in_the_middle_of_a_character_loses_that_character_alone(text, n):
    data = text.encode()
    data = data[: n % (len(data) + 1)]
    completion = Completion(Bytes())
    for byte in data:
        completion.add(Token(byte))
    completion.finish("length")
    assert completion.text == data.decode("utf-8", errors="ignore")


@given(st.text("ab好🐈", max_size=40), st.lists(st.text("ab好🐈", min_size=1, max_size=3), min_size=1, max_size=3))
def test_stop_strings_are_found_across_tokens_and_inside_them(text, stops):
    completion = Completion(Bytes(), stops)
    out = ""
    for byte in text.encode():
        if not completion.finish_reason:
            out += completion.add(Token(byte))
    out += completion.finish("length")
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert out == completion.text == (text[: min(ends)[1]] if ends else text)
    assert completion.finish_reason == ("stop" if ends else "length")


def test_bytes_that_can_become_no_character_do_show_as_broken():
    completion = Completion(Bytes())
    assert completion.add(Token(0xE5)) == ""
    assert completion.add(Token(0x41)) == "\ufffdA"


def test_the_reason_it_ended_is_the_first_one():
    completion = Completion(Bytes(), ["!"])
    assert completion.finish_reason is None
    completion.add(Token(ord("!")))
    assert completion.finish("length") == "" and completion.finish_reason == "stop"
    assert [token.id for token in completion.tokens] == [ord("!")]


# ---- complete ----


@pytest.fixture
def batch(monkeypatch):
    """Two samples that say "ababcd", over and over."""
    monkeypatch.setattr(sampling, "Decoder", FakeDecoder)
    model = saying([ord(letter) for letter in "ababcd"], 256)
    return Generation(model, [0], 20, num_samples=2, temperature=0)


def test_complete_runs_each_sample_to_its_end_and_shows_every_piece(batch):
    completions = [Completion(Bytes(), ["abc"]), Completion(Bytes(), ["dab", "dd"])]
    shown = ["", ""]

    def show(i, text):
        shown[i] += text

    complete(batch, completions, show)
    assert [completion.text for completion in completions] == ["ab", "ababc"] == shown
    assert [completion.finish_reason for completion in completions] == ["stop", "stop"]
    assert [len(completion.tokens) for completion in completions] == [5, 8]


def test_complete_gives_out_what_was_held_back_when_the_length_is_reached(batch):
    completions = [Completion(Bytes(), ["abX"]), Completion(Bytes())]
    complete(batch, completions)
    assert [completion.text for completion in completions] == ["ababcdababcdababcdab"] * 2
    assert [completion.finish_reason for completion in completions] == ["length", "length"]


def test_ctrl_c_keeps_what_was_made(batch):
    completions = [Completion(Bytes(), ["cX"]), Completion(Bytes())]
    shown = []

    def show(i, text):
        shown.append(text)
        if len(shown) == 9:  # both have said "abab", and the first one holds back a "c"
            raise KeyboardInterrupt

    complete(batch, completions, show)
    assert [completion.text for completion in completions] == ["ababc", "abab"]
    assert [completion.finish_reason for completion in completions] == ["interrupted"] * 2
    assert "".join(shown) == "aabbaabbc"


# ---- start_ids ----


def test_a_prompt_is_encoded_and_an_empty_one_is_a_line_break_or_token_zero():
    with_line_breaks, without = CharTokenizer.train("ab\n"), CharTokenizer.train("ab")
    assert start_ids(without, "ba") == without.encode("ba")
    assert start_ids(with_line_breaks, "") == with_line_breaks.encode("\n\n")
    assert start_ids(without, "") == [0]
