"""The two tokenizers of web/engine.js: the same ids and texts as in Python."""

import random
from pathlib import Path

import pytest
from gpt.tokenizers import BPETokenizer, CharTokenizer

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.sampling.streaming import start_of
from nanograd.device.device import Device
from tests.support.javascript import JavaScript
from tests.support.marks import slow

DATA = Path(__file__).parents[3] / "data"
ODD = [
    "▁",
    " ",
    "  ",
    "\u3000",
    "😀",
    "\u202e",
    "\u2028",
    "\u0300",
    "\ufeff",
    "\ufffd",
    "\n",
    "\r\n",
    "\0",
    "<0x41>",
    "<unk>",
]


def javascript(tokenizer):
    shape = {"vocab_size": tokenizer.vocab_size, "block_size": 4, "n_layer": 1, "n_embd": 4, "n_head": 1}
    return JavaScript(GPT(GPTConfig(**shape), Device("numpy")), tokenizer)


@pytest.fixture(scope="module")
def text():
    return "".join((DATA / name).read_text(encoding="utf-8")[:40_000] for name in ("tales.txt", "tales-zh.txt"))


@pytest.fixture(scope="module")
def bpe(text):
    tokenizer = BPETokenizer.train(text, 900)
    return tokenizer, javascript(tokenizer)


def random_text(rng, text):
    kind = rng.randrange(4)
    if kind == 0:
        start = rng.randrange(len(text))
        return text[start : start + rng.randint(0, 150)]
    if kind == 1:
        codes = (rng.randrange(0x110000) for _ in range(rng.randint(0, 40)))
        return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    pool = ODD if kind == 2 else [*ODD, *(rng.choice(text) for _ in range(30))]
    return "".join(rng.choice(pool) for _ in range(rng.randint(0, 40)))


def test_bpe_gives_the_same_ids_for_1000_random_texts(bpe, text):
    tokenizer, js = bpe
    rng = random.Random(1)
    texts = [random_text(rng, text) for _ in range(1000)]
    assert js("texts.map(text => engine.encode(text))", texts=texts) == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("sign", ["好", *map(slow, ("a", " ", "\n", "▁", "ab cd\n"))])
def test_bpe_cuts_long_texts_at_the_same_places(bpe, text, sign):
    tokenizer, js = bpe
    for long in (sign * 2001, sign * 700 + text[:5000], "x" + sign * 2000):
        assert js("engine.encode(text)", text=long) == tokenizer.encode(long)


def test_char_gives_the_same_ids_for_1000_random_texts(text):
    alphabet = "".join({*text, *"".join(ODD)})
    tokenizer = CharTokenizer.train(alphabet)
    js, rng = javascript(tokenizer), random.Random(2)
    texts = ["".join(rng.choices(alphabet, k=rng.randint(0, 50))) for _ in range(1000)]
    assert js("texts.map(text => engine.encode(text))", texts=texts) == [tokenizer.encode(text) for text in texts]
    assert js("texts.map(text => engine.decode(engine.encode(text)))", texts=texts) == texts


def test_decoding_bytes_that_are_no_characters(bpe):
    tokenizer, js = bpe
    rng = random.Random(3)
    edges = [
        0x41,
        0x7F,
        0x80,
        0x8F,
        0x90,
        0x9F,
        0xA0,
        0xBF,
        0xC0,
        0xC1,
        0xC2,
        0xDF,
        0xE0,
        0xE5,
        0xED,
        0xEF,
        0xF0,
        0xF4,
        0xF5,
        0xFF,
    ]
    lists = [[1 + rng.choice(edges) for _ in range(rng.randint(0, 8))] for _ in range(3000)]
    lists += [[rng.randrange(tokenizer.vocab_size) for _ in range(20)] for _ in range(200)]
    assert js("lists.map(ids => engine.decode(ids))", lists=lists) == [tokenizer.decode(ids) for ids in lists]


@pytest.mark.parametrize(
    "prompt", ["", "a", " ", "Once ", "Once  ", "Once\n", "the fox \t", "好 ", "x\u3000", "Nell ", "a b "]
)
def test_a_prompt_is_gone_on_with_as_in_sample_py(bpe, text, prompt):
    char = CharTokenizer.train(text + " \t\u3000")
    for tokenizer, js in (bpe, (char, javascript(char))):
        wanted = start_of(tokenizer, prompt)
        found = js("(({ids, first}) => ({ids, first: first && [...first]}))(engine.start(prompt))", prompt=prompt)
        assert found["ids"] == wanted.ids
        assert found["first"] == (None if wanted.first is None else wanted.first.nonzero()[0].tolist())


def test_without_line_breaks_an_empty_prompt_is_token_0():
    assert javascript(CharTokenizer.train("abc"))("engine.start('')")["ids"] == [0]


def test_the_first_token_after_a_space_begins_with_it(bpe):
    tokenizer, js = bpe
    start = (
        "globalThis.start = engine.start('Once '); const w = new Engine.Writer(engine, start.ids, {seed}, start.first);"
    )
    for seed in range(20):
        token = js(f"(() => {{ {start} const c = w.next(); return [c.token, c.stages[1].name]; }})()", seed=seed)
        assert tokenizer.token_bytes(token[0]).startswith(b" ") and token[1] == "first"
