"""Rows about sampling: the model's mode, the end of a prompt, what can be typed."""

import io
import json

import numpy as np
import pytest

from gpt import GPT, GPTConfig, generate
from gpt.config.options import SampleConfig
from gpt.sampling.generate import Generation
from gpt.sampling.streaming import start_of
from nanograd import Device
from tests.faults.table import Place, fault
from tokenizers import BPETokenizer, CharTokenizer

CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=1, n_embd=8, dropout=0.5)
STORIES = "Once there was a rabbit. The rabbit had a red hat, and there was a river. " * 40


def model():
    return GPT(CONFIG, Device("numpy", seed=0))


def written(place, prompt, *words):
    code, out, err = place.call("sample", "--out_dir=run", "--backend=numpy", "--seed=1", "--prompt", prompt, *words)
    assert code == 0, err
    return out


@fault(7)
def between_two_tokens_the_model_trains(place: Place):
    gpt = model()
    tokens = generate(gpt, [1], max_new_tokens=3, seed=0)
    next(tokens)
    assert gpt.training and all(block.mlp.training for block in gpt.h)


@fault(7)
def a_generation_that_is_dropped_leaves_the_mode_alone(place: Place):
    gpt = model()
    for _ in generate(gpt, [1], max_new_tokens=3, seed=0):
        break
    assert gpt.training


@fault(7)
def a_model_put_into_evaluation_in_between_stays_there(place: Place):
    gpt = model()
    tokens = generate(gpt, [1], max_new_tokens=3, seed=0)
    next(tokens)
    gpt.eval()
    assert len(list(tokens)) == 2 and not gpt.training


@fault(7)
def two_open_generations_do_not_change_each_others_mode(place: Place):
    gpt = model()
    one, other = (iter(Generation(gpt, [1], 4, seed=seed)) for seed in (0, 1))
    for _ in range(4):
        next(one)
        assert gpt.training
        next(other)
        assert gpt.training


@fault(7)
def an_error_in_the_middle_gives_the_mode_back(place: Place):
    gpt = model()
    gpt.wte.weight.value[...] = np.nan
    with pytest.raises(RuntimeError, match="not finite"):
        list(generate(gpt, [1], seed=0))
    assert gpt.training


@fault(9)
def the_space_goes_into_the_first_piece(place: Place):
    tokenizer = BPETokenizer.train(STORIES, 280)
    start = start_of(tokenizer, "Once there was ")
    assert tokenizer.decode(start.ids) == "Once there was" and start.given == 1
    pieces = {tokenizer.token_bytes(token) for token in np.flatnonzero(start.first)}
    assert b" a" in pieces and all(piece.startswith(b" ") for piece in pieces)


@fault(9, pytest.mark.slow)
def the_text_is_the_prompt_and_its_continuation_with_one_space(place: Place):
    place.write("text.txt", STORIES)
    place.trained("--data=text.txt", tokenizer="bpe", vocab_size=280, max_steps=60, lr=1e-2)
    for seed in range(5):
        out = written(place, "Once there was ", "--max_new_tokens=4", f"--seed={seed}")
        assert out.startswith("Once there was ") and not out.startswith("Once there was  ")
    code, out, _ = place.call("sample", "--out_dir=run", "--prompt=there was ", "--json", "--temperature=0")
    assert code == 0 and json.loads(out)["text"].startswith("a r")


@fault(9)
def other_prompts_and_single_characters_stay_as_they_are(place: Place):
    pieces, characters = BPETokenizer.train(STORIES, 280), CharTokenizer.train(STORIES)
    for tokenizer, prompt in (pieces, "Once there"), (pieces, " "), (pieces, ""), (characters, "Once "):
        start = start_of(tokenizer, prompt)
        assert start.first is None and start.given == 0 and (not prompt or tokenizer.decode(start.ids) == prompt)


@fault(9)
def the_first_token_alone_is_chosen_among_them(place: Place):
    first = np.arange(11) >= 7
    batch = Generation(model(), [1, 2], 20, num_samples=3, seed=0, temperature=5.0, first=first)
    tokens = np.array([[token.id for token in step] for step in batch])  # (20, 3)
    assert (tokens[0] >= 7).all() and (tokens[1:] < 7).any()
    greedy = next(iter(Generation(model(), [1, 2], 1, temperature=0, first=first)))
    assert greedy[0].id >= 7


@fault(9, pytest.mark.slow)
def a_stop_text_is_looked_for_behind_the_prompt_only(place: Place):
    place.write("text.txt", STORIES)
    place.trained("--data=text.txt", tokenizer="bpe", vocab_size=280)
    code, out, _ = place.call("sample", "--out_dir=run", "--prompt=there was ", "--json", "--stop= ", "--seed=3")
    assert code == 0 and " " not in json.loads(out)["text"]


@fault(10, pytest.mark.slow)
def stop_reads_a_line_break(place: Place):
    place.write("text.txt")
    place.trained("--data=text.txt", max_steps=1)
    code, out, err = place.call("sample", "--out_dir=run", r"--stop=\n", "--json", "--max_new_tokens=400", "--seed=0")
    assert code == 0 and "\n" not in json.loads(out)["text"] and json.loads(out)["finish_reason"] == "stop", err


@fault(10, pytest.mark.slow)
def prompt_reads_line_break_tab_and_backslash(place: Place):
    place.write("text.txt", "a\tb\\c\nd" * 200)
    place.trained("--data=text.txt", max_steps=1)
    assert written(place, r"a\tb\\c\nd", "--max_new_tokens=1").startswith("a\tb\\c\nd")


@fault(10)
def a_backslash_before_another_letter_stays(place: Place):
    place.write("text.txt", "a\\d\\\\\nb" * 200)
    place.trained("--data=text.txt", max_steps=1)
    assert written(place, r"a\d", "--max_new_tokens=1").startswith("a\\d")


@fault(10, pytest.mark.slow)
def python_and_files_take_texts_as_they_are(place: Place):
    assert SampleConfig(prompt=r"a\nb", stop=(r"\n",)).stop == (r"\n",)
    place.write("text.txt", "a\\nb\n" * 200)
    place.write("prompt.txt", r"a\nb")
    place.trained("--data=text.txt", max_steps=1)
    code, out, _ = place.call("sample", "--out_dir=run", "--prompt_file=prompt.txt", "--max_new_tokens=1")
    assert code == 0 and out.startswith(r"a\nb")


@fault(10, pytest.mark.slow)
def a_prompt_with_anything_in_it_comes_through_standard_input(place: Place):
    place.write("text.txt")
    place.trained("--data=text.txt", max_steps=1)
    place.patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the fox\nand"), encoding="ascii"))
    code, out, err = place.call("sample", "--out_dir=run", "--prompt_file=-", "--max_new_tokens=1")
    assert code == 0 and out.startswith("the fox\nand"), err


@fault(10)
def help_says_which_escapes_are_read(place: Place):
    _, out, _ = place.call("sample", "--help")
    assert r"\n, \t and \\ are read" in " ".join(out.replace("│", " ").split())
