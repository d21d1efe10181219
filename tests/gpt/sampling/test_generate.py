"""generate() and Generation: the order of the controls, the randomness, batches, log-probabilities, bad input."""

import itertools
import math

import numpy as np
import pytest

from gpt.config.options import ChoiceFlags, GPTConfig
from gpt.errors import UsageError
from gpt.model import GPT
from gpt.sampling import filters
from gpt.sampling import generate as sampling
from gpt.sampling.generate import Generation, apply_controls, generate, generate_batch
from nanograd.device.device import Device
from tests.support.chi_square import chi_square, chi_square_limit
from tests.support.fake_model import constant, random_table, saying

NEUTRAL = {"temperature": 1.0, "top_p": 1.0}


def row(*probabilities):
    return np.log(np.array(probabilities, dtype=np.float64))


def survivors(logits):
    return np.flatnonzero(logits > -np.inf).tolist()


def controls(**given):
    return ChoiceFlags(**(NEUTRAL | given))


def tokens_of(batch, sample=0):
    return [step[sample].id for step in batch if step[sample]]


# ---- what comes out ----


@pytest.mark.usefixtures("fake")
def test_generate_yields_as_many_python_ints_as_asked_for():
    for n in (0, 1, 17):
        tokens = list(generate(random_table(9), [1, 2], max_new_tokens=n, seed=0))
        assert len(tokens) == n and all(type(token) is int and 0 <= token < 9 for token in tokens)


@pytest.mark.usefixtures("fake")
def test_the_prompt_is_fed_once_each_token_once_and_the_last_one_not():
    model = random_table(9)
    list(generate(model, [1, 2, 3], max_new_tokens=4, seed=0))
    assert model.calls == [(3,), 1, 1, 1]


@pytest.mark.usefixtures("fake")
def test_dropout_is_off_meanwhile_and_the_mode_restored():
    model = random_table(9)
    tokens = generate(model, [1], max_new_tokens=3, seed=0)
    next(tokens)  # the decoder asserts that the model is in evaluation mode
    assert model.training
    list(tokens)
    assert model.training


@pytest.mark.usefixtures("fake")
def test_temperature_zero_takes_the_most_likely_and_the_lowest_id_of_several():
    model = constant(1.0, 3.0, 3.0, 2.0)
    for filtered in ({}, {"top_k": 1}, {"top_p": 0.1}, {"min_p": 1.0}, {"presence_penalty": 0.001}):
        assert next(generate(model, [0], temperature=0, seed=0, **filtered)) == 1


@pytest.mark.usefixtures("fake")
def test_greedy_follows_the_penalties():
    """Worked by hand: 2.0 1.5 0.9 lose 1 each time they are said, then 0.6 once."""
    greedy = {"temperature": 0, "max_new_tokens": 6}
    assert list(generate(constant(2.0, 1.5, 0.9), [2], frequency_penalty=1.0, **greedy)) == [0, 1, 0, 2, 1, 0]
    assert list(generate(constant(2.0, 1.5, 0.9), [2], presence_penalty=0.6, **greedy)) == [0, 1, 0, 0, 0, 0]


@pytest.mark.usefixtures("fake")
def test_the_repetition_penalty_counts_the_prompt_and_the_other_two_do_not():
    model = constant(2.0, 1.5, 0.9)
    greedy = {"temperature": 0, "max_new_tokens": 3}
    assert list(generate(model, [0], repetition_penalty=2.0, **greedy)) == [1, 0, 0]  # 1 1.5 .9; 1 .75 .9
    assert list(generate(model, [0], frequency_penalty=0.4, **greedy)) == [0, 0, 1]
    assert list(generate(model, [0], presence_penalty=0.4, **greedy)) == [0, 0, 0]


# ---- the order of the controls ----


def test_penalties_come_before_the_temperature_repetition_first():
    counts, seen = np.array([1.0, 2.0, 0.0]), np.array([True, True, False])
    given = controls(repetition_penalty=2.0, frequency_penalty=0.5, presence_penalty=1.0, temperature=0.5)
    reshaped = apply_controls(given, np.array([4.0, 2.0, 1.0]), seen, counts)
    # (4/2 - 0.5 - 1, 2/2 - 1 - 1, 1), less the largest, over 0.5
    assert reshaped.tolist() == [-1.0, -4.0, 0.0]


def test_the_temperature_comes_before_top_p():
    assert survivors(apply_controls(controls(top_p=0.6), row(0.5, 0.3, 0.2))) == [0, 1]
    assert survivors(apply_controls(controls(top_p=0.6, temperature=0.5), row(0.5, 0.3, 0.2))) == [0]


def test_top_p_counts_over_what_top_k_left():
    """0.4 of 0.4 + 0.3 is more than a half; 0.4 of all is not."""
    assert survivors(apply_controls(controls(top_p=0.5), row(0.4, 0.3, 0.2, 0.1))) == [0, 1]
    assert survivors(apply_controls(controls(top_p=0.5, top_k=2), row(0.4, 0.3, 0.2, 0.1))) == [0]


def test_min_p_comes_last():
    """Before top_p it would leave 0.5 and 0.3, of which 0.5 alone makes up 0.6."""
    assert survivors(apply_controls(controls(top_p=0.6, min_p=0.3), row(0.5, 0.3, 0.1, 0.1))) == [0, 1]
    assert survivors(apply_controls(controls(top_p=0.6, min_p=0.7), row(0.5, 0.3, 0.1, 0.1))) == [0]


def test_neutral_controls_change_nothing():
    logits = row(0.5, 0.3, 0.2)
    assert np.array_equal(apply_controls(controls(), logits), logits)


# ---- the randomness ----


def slow_distribution(logits, temperature, top_k, top_p, min_p):
    """The probabilities by the definitions, one token at a time."""
    q = {i: math.exp(z / temperature) for i, z in enumerate(logits)}
    order = sorted(q, key=lambda i: (-q[i], i))[: top_k or len(q)]
    total = sum(q[i] for i in order)
    running = list(itertools.accumulate(q[i] / total for i in order))
    order = order[: 1 + next((n for n, reached in enumerate(running) if reached >= top_p), len(order))]
    order = [i for i in order if q[i] >= min_p * q[order[0]]]
    total = sum(q[i] for i in order)
    return np.array([q[i] / total if i in order else 0.0 for i in range(len(logits))])


SETTINGS = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.0},
    {"temperature": 1.7, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
    {"temperature": 0.3, "top_k": 0, "top_p": 0.99, "min_p": 0.01},
]


@pytest.mark.slow
@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_twenty_thousand_tokens_follow_the_distribution(settings):
    logits = np.random.default_rng(4).normal(size=65).astype(np.float32).astype(float) * 1.5
    tokens = list(generate(constant(*logits), [0], max_new_tokens=20_000, seed=5, **settings))
    # What the model hands over is float32.
    expected = slow_distribution(logits.astype(np.float32).tolist(), **settings)
    statistic, impossible, freedom = chi_square(np.bincount(tokens, minlength=65), 20_000 * expected)
    assert impossible == 0
    assert statistic < chi_square_limit(freedom)


@pytest.mark.slow
@pytest.mark.usefixtures("fake")
def test_first_tokens_of_many_samples_follow_the_distribution_too():
    """The streams of different samples and of different seeds are independent of each other."""
    logits = np.random.default_rng(6).normal(size=12)
    batch = next(iter(Generation(constant(*logits), [0], num_samples=10_000, seed=0, **NEUTRAL)))
    other_seeds = [next(generate(constant(*logits), [0], 1, seed=seed, **NEUTRAL)) for seed in range(10_000)]
    for tokens in ([token.id for token in batch], other_seeds):
        expected = 10_000 * filters.softmax(logits.astype(np.float32).astype(float))
        statistic, _, freedom = chi_square(np.bincount(tokens, minlength=12), expected)
        assert statistic < chi_square_limit(freedom)


@pytest.mark.usefixtures("fake")
def test_the_seed_decides_everything():
    def tokens(seed):
        return list(generate(random_table(20), [3], max_new_tokens=60, seed=seed))

    assert tokens(7) == tokens(7)
    assert tokens(7) != tokens(8)


@pytest.mark.usefixtures("fake")
def test_without_a_seed_a_fresh_one_is_drawn_and_kept():
    first, second = (Generation(random_table(20), [3], 60) for _ in range(2))
    assert first.seed != second.seed
    again = Generation(random_table(20), [3], 60, seed=first.seed)
    assert tokens_of(first) == tokens_of(again)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_a_sample_does_not_depend_on_the_others_in_its_batch(penalty):
    options = {"max_new_tokens": 40, "seed": 11, "frequency_penalty": penalty}
    alone = [tokens_of(generate_batch(random_table(20), [3, 4], first_sample=i, **options)) for i in range(5)]
    together = list(generate_batch(random_table(20), [3, 4], num_samples=5, **options))
    assert [tokens_of(together, i) for i in range(5)] == alone
    assert len(set(map(tuple, alone))) == 5
    assert list(generate(random_table(20), [3, 4], **options)) == alone[0]


@pytest.mark.usefixtures("fake")
def test_a_finished_sample_gives_none_and_leaves_the_others_alone():
    options = {"max_new_tokens": 40, "num_samples": 3, "seed": 11}
    undisturbed = list(Generation(random_table(20), [3], **options))
    batch, steps = Generation(random_table(20), [3], **options), []
    for step in batch:
        steps.append(step)
        if len(steps) == 10:
            batch.finish(1)
    assert [step[1] for step in steps[10:]] == [None] * 30
    assert [step[::2] for step in steps] == [step[::2] for step in undisturbed]


@pytest.mark.usefixtures("fake")
def test_the_batch_ends_when_all_have_finished():
    batch = Generation(random_table(20), [3], 40, num_samples=2, seed=0)
    for n, _ in enumerate(batch, start=1):
        if n in (3, 5):
            batch.finish((n - 3) // 2)
    assert n == 5


# ---- stop strings ----


class Letters:
    """A tokenizer of single characters."""

    def __init__(self, letters):
        self.letters = letters

    def token_bytes(self, token):
        return self.letters[token].encode()


@pytest.mark.usefixtures("fake")
def test_generate_ends_after_the_token_that_completes_a_stop_string():
    letters = "abc"
    model = saying([0, 1, 0, 1, 2, 0], 3)  # "ababca", over and over
    tokens = generate(model, [0], 50, temperature=0, stop=["abc"], tokenizer=Letters(letters))
    assert "".join(letters[token] for token in tokens) == "ababc"


@pytest.mark.usefixtures("fake")
def test_stop_strings_need_the_tokenizer():
    with pytest.raises(UsageError, match="tokenizer"):
        generate(constant(1.0, 2.0), [0], stop=["a"])


# ---- log-probabilities ----


@pytest.mark.usefixtures("fake")
def test_logprobs_are_the_models_own_before_any_control():
    model = constant(*row(0.5, 0.125, 0.25, 0.125))
    (step,) = Generation(model, [0], 1, temperature=0, frequency_penalty=2, top_k=1, logprobs=3)
    (token,) = step
    assert token.id == 0 and token.logprob == pytest.approx(math.log(0.5), abs=1e-6)
    assert [i for i, _ in token.best] == [0, 2, 1]  # of equal ones the lower id
    assert [p for _, p in token.best] == pytest.approx(np.log([0.5, 0.25, 0.125]), abs=1e-6)
    assert type(token.logprob) is float and type(token.best[0][0]) is int


@pytest.mark.usefixtures("fake")
def test_logprobs_of_zero_rivals_of_all_and_of_none():
    def first(**given):
        return next(iter(Generation(constant(1.0, 3.0, 2.0), [0], 1, temperature=0, **given)))[0]

    assert first(logprobs=0).best == () and first(logprobs=0).logprob < 0
    assert [i for i, _ in first(logprobs=100).best] == [1, 2, 0]
    assert first() == (1, None, ())


def test_the_best_alternatives_that_tie_stand_in_order_of_their_ids():
    logits = np.arange(500) % 3.0
    assert sampling.most_likely(logits, 300).tolist() == [*range(2, 500, 3), *range(1, 500, 3)][:300]


# ---- with a real model ----


@pytest.fixture(scope="module")
def model():
    config = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16)
    model = GPT(config, Device("numpy", dtype="float64", seed=3))
    for parameter in model.parameters():  # far from the start, where all tokens are about as likely
        parameter.value[...] *= 8
    return model.eval()


@pytest.mark.parametrize("prompt", [[5], list(range(8)), [i * 7 % 11 for i in range(30)]])
def test_greedy_output_is_the_argmax_of_the_full_forward(model, prompt):
    """At every length: within the context, filling it, and sliding far past it."""
    ids = list(prompt)
    for token in generate(model, prompt, max_new_tokens=20, temperature=0):
        logits, _ = model(np.array([ids[-8:]]))
        assert token == logits[0, -1].argmax()
        ids.append(token)
    assert len(ids) == len(prompt) + 20


def test_a_batch_of_a_real_model_holds_the_samples_made_alone(model):
    together = list(generate_batch(model, [1, 2], 30, num_samples=4, seed=2, temperature=1.0))
    for i in range(4):
        alone = generate_batch(model, [1, 2], 30, first_sample=i, seed=2, temperature=1.0)
        assert tokens_of(alone) == tokens_of(together, i)
