"""Every filter against hand-worked vectors, a slow obvious definition, and the properties it promises."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.sampling import filters
from tests.support.chi_square import chi_square, chi_square_limit
from tests.support.marks import slow

INF = math.inf


def row(*probabilities):
    """Logits whose softmax is `probabilities`."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, dtype=np.float64))


def survivors(logits):
    return np.flatnonzero(logits > -INF).tolist()


def ranked(logits):
    """Ids from the most to the least likely, equal ones by rising id: the order every tie is broken by."""
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


# Coarse values make ties common; the wide range makes probabilities underflow.
logit_rows = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-1e4, 1e4), st.just(-INF)), min_size=1, max_size=70
).filter(lambda values: max(values) > -INF)
logit_rows = logit_rows.map(np.array)
fractions = st.one_of(st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 0.95]), st.floats(1e-6, 1, exclude_max=True))


# ---- hand-worked vectors ----


def test_repetition_penalty_divides_positive_logits_and_multiplies_the_others():
    logits = np.array([3.0, -3.0, 0.0, 3.0, -3.0])
    seen = np.array([True, True, True, False, False])
    assert filters.repetition_penalty(logits, seen, 1.5).tolist() == [2.0, -4.5, 0.0, 3.0, -3.0]
    assert filters.repetition_penalty(logits, seen, 0.5).tolist() == [6.0, -1.5, 0.0, 3.0, -3.0]


def test_frequency_penalty_counts_every_time_presence_penalty_once():
    logits = np.array([1.0, 1.0, 1.0])
    counts = np.array([0.0, 1.0, 4.0])
    assert filters.frequency_penalty(logits, counts, 0.5).tolist() == [1.0, 0.5, -1.0]
    assert filters.presence_penalty(logits, counts, 0.5).tolist() == [1.0, 0.5, 0.5]
    assert filters.frequency_penalty(logits, counts, -0.5).tolist() == [1.0, 1.5, 3.0]


def test_temperature_raises_probabilities_to_the_power_one_over_t():
    q = filters.softmax(filters.temperature(row(0.2, 0.8), 0.5))
    assert q == pytest.approx([0.04 / 0.68, 0.64 / 0.68], rel=1e-14)
    q = filters.softmax(filters.temperature(row(0.2, 0.8), 2.0))
    assert q == pytest.approx([math.sqrt(0.2) / (math.sqrt(0.2) + math.sqrt(0.8)), 2 / 3], rel=1e-14)


@pytest.mark.parametrize("t", [5e-324, 1e-300, 1e-8])
def test_a_tiny_temperature_is_the_greedy_choice(t):
    assert filters.softmax(filters.temperature(np.array([1e4, -1e4, 9999.0]), t)).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("k", "kept"),
    [(1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])],
)
def test_top_k(k, kept):
    assert survivors(filters.top_k(np.array([1.0, 5.0, 3.0, 4.0, 0.0]), k)) == kept


def test_top_k_of_zero_keeps_all():
    assert survivors(filters.top_k(np.array([1.0, 5.0, 3.0]), 0)) == [0, 1, 2]


def test_top_k_breaks_ties_by_the_lowest_id():
    assert survivors(filters.top_k(np.array([2.0, 7.0, 2.0, 2.0]), 2)) == [0, 1]
    assert survivors(filters.top_k(np.zeros(6), 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.01, [2]),
        (0.5, [2]),
        (0.51, [1, 2]),
        (0.8, [1, 2]),
        (0.81, [0, 1, 2]),
        (0.9, [0, 1, 2]),
        (0.91, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    """0.5 + 0.3 + 0.1 is 0.8999... in binary: it has reached 0.9 all the same."""
    assert survivors(filters.top_p(row(0.1, 0.3, 0.5, 0.1), p)) == kept


def test_top_p_breaks_ties_by_the_lowest_id():
    assert survivors(filters.top_p(row(0.25, 0.25, 0.25, 0.25), 0.5)) == [0, 1]
    assert survivors(filters.top_p(row(0.2, 0.2, 0.4, 0.2), 0.5)) == [0, 2]


@pytest.mark.parametrize(("p", "kept"), [(0.0, [0, 1, 2, 3]), (0.2, [0, 1, 2]), (0.6, [0, 1]), (1.0, [0])])
def test_min_p_is_relative_to_the_most_likely_token(p, kept):
    assert survivors(filters.min_p(row(0.5, 0.3, 0.1, 0.1 * 0.9), p)) == kept


def test_softmax_and_its_logarithm_at_logits_of_ten_thousand():
    logits = np.array([1e4, 1e4 - math.log(3), -1e4])
    assert filters.softmax(logits) == pytest.approx([0.75, 0.25, 0.0], abs=1e-11)
    assert filters.log_softmax(logits) == pytest.approx(
        [math.log(0.75), math.log(0.25), math.log(0.75) - 2e4], rel=1e-11
    )


@pytest.mark.parametrize(
    ("u", "token"), [(0.0, 1), (0.24, 1), (0.25, 3), (0.74, 3), (0.75, 4), (np.nextafter(1.0, 0.0), 4)]
)
def test_draw_inverts_the_cumulative_distribution(u, token):
    assert filters.draw(row(0.0, 0.25, 0.0, 0.5, 0.25, 0.0), u) == token


def test_draw_never_returns_a_token_of_probability_zero():
    """The last two underflow to probability 0, though their logits are finite."""
    logits = np.array([-2000.0, 0.0, 0.0, -2000.0, -3000.0])
    for u in (0.0, 0.3, 0.7, np.nextafter(1.0, 0.0)):
        assert filters.draw(logits, u) in (1, 2)


# ---- against slow definitions, and properties, by hypothesis ----


@given(logit_rows, st.integers(1, 80))
def test_top_k_is_the_first_k_of_the_ranking(logits, k):
    alive = [i for i in ranked(logits)[:k] if logits[i] > -INF]
    assert survivors(filters.top_k(logits, k)) == sorted(alive)


@given(logit_rows, fractions)
def test_top_p_is_the_smallest_set_that_reaches_p(logits, p):
    q = [math.exp(z - max(logits)) for z in logits]
    total, order = math.fsum(q), ranked(logits)
    kept = survivors(filters.top_p(logits, p))
    assert kept == sorted(order[: len(kept)])  # the most likely ones, ties by id
    assert math.fsum(q[i] for i in kept) / total >= p - 2 * filters.ROUNDING  # that reach p
    without_the_last = math.fsum(q[i] for i in order[: len(kept) - 1]) / total
    assert len(kept) == 1 or without_the_last < p  # and one fewer would not


@pytest.mark.parametrize("spread", [0.01, 1.0, 2.0, 5.0])  # from thousands of survivors to a handful
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95, 0.9999])
def test_top_p_of_a_large_vocabulary(spread, p):
    logits = np.round(np.random.default_rng(3).normal(size=9000) * spread, 3)  # rounded: with ties
    q, order = filters.softmax(logits), ranked(logits)
    k = next(n for n, total in enumerate(itertools.accumulate(q[order]), start=1) if total >= p)
    assert survivors(filters.top_p(logits, p)) == sorted(order[:k])


@given(logit_rows, fractions)
def test_min_p_is_its_definition(logits, p):
    kept = set(survivors(filters.min_p(logits, p)))
    for i, z in enumerate(logits):
        ratio = math.exp(z - max(logits))
        if abs(ratio / p - 1) > 1e-11:
            assert (i in kept) == (ratio > p)


every_filter = pytest.mark.parametrize(
    ("apply", "settings"),
    [
        (filters.top_k, st.integers(0, 80)),
        (filters.top_p, st.one_of(fractions, st.just(1.0))),
        (filters.min_p, st.one_of(fractions, st.sampled_from([0.0, 1.0]))),
    ],
    ids=["top_k", "top_p", "min_p"],
)


@every_filter
@given(data=st.data(), logits=logit_rows)
def test_a_filter_leaves_a_distribution_with_the_best_token_in_it(apply, settings, data, logits):
    before = logits.copy()
    after = apply(logits, data.draw(settings))
    assert np.array_equal(logits, before) and not np.shares_memory(after, logits)
    kept = survivors(after)
    assert ranked(logits)[0] in kept
    assert np.array_equal(after[kept], logits[kept])
    assert filters.softmax(after).sum() == pytest.approx(1, abs=1e-12)
    assert filters.softmax(after).min() >= 0


@every_filter
@given(data=st.data(), logits=logit_rows)
def test_a_second_pass_drops_nothing_or_for_top_p_only_more(apply, settings, data, logits):
    setting = data.draw(settings)
    once = apply(logits, setting)
    twice = apply(once, setting)
    if apply is filters.top_p:
        assert set(survivors(twice)) <= set(survivors(once))
    else:
        assert np.array_equal(once, twice)


@given(logit_rows, st.floats(1e-3, 1e3))
def test_temperature_and_penalties_move_no_token_out_and_one_is_neutral(logits, t):
    alive = survivors(logits)
    warm = filters.temperature(logits, t)
    assert warm.max() == 0 and survivors(warm) == alive
    assert filters.softmax(filters.temperature(logits, 1.0)) == pytest.approx(filters.softmax(logits), abs=1e-12)
    some = np.arange(len(logits)) % 2
    assert np.array_equal(filters.repetition_penalty(logits, some == 1, 1.0), logits)
    assert np.array_equal(filters.frequency_penalty(logits, some, 0.0), logits)
    assert np.array_equal(filters.presence_penalty(logits, some, 0.0), logits)


@given(logit_rows, st.floats(0, 1, exclude_max=True))
def test_draw_is_the_inverse_of_the_cumulative_distribution(logits, u):
    q = filters.softmax(logits)
    token = filters.draw(logits, u)
    assert isinstance(token, int) and q[token] > 0
    assert q[:token].sum() <= u + 1e-12 and u < q[: token + 1].sum() + 1e-12


# ---- statistics ----


CHAINS = {
    "plain": lambda z: z,
    "temperature": lambda z: filters.temperature(z, 0.7),
    "top_k": lambda z: filters.top_k(z, 7),
    "top_p": lambda z: filters.top_p(z, 0.8),
    "min_p": lambda z: filters.min_p(z, 0.1),
    "repetition": lambda z: filters.repetition_penalty(z, np.arange(z.size) < 5, 1.7),
    "frequency": lambda z: filters.frequency_penalty(z, np.arange(z.size) % 3, 0.4),
    "presence": lambda z: filters.presence_penalty(z, np.arange(z.size) % 3, 0.9),
    "all": lambda z: filters.min_p(filters.top_p(filters.top_k(filters.temperature(z, 1.3), 15), 0.95), 0.02),
}


@pytest.mark.parametrize("chain", [name if name in ("temperature", "top_p", "all") else slow(name) for name in CHAINS])
def test_twenty_thousand_draws_follow_the_distribution(chain):
    logits = CHAINS[chain](np.random.default_rng(1).normal(size=20) * 1.2)
    uniforms = np.random.default_rng(sum(map(ord, chain))).random(20_000)
    observed = np.bincount([filters.draw(logits, u) for u in uniforms], minlength=20)
    statistic, impossible, freedom = chi_square(observed, 20_000 * filters.softmax(logits))
    assert impossible == 0
    assert statistic < chi_square_limit(freedom)


def test_the_chi_square_test_notices_a_small_bias():
    """A temperature of 1.1 taken for 1 fails the very test that the right distribution passes."""
    logits = np.random.default_rng(1).normal(size=20) * 1.2
    uniforms = np.random.default_rng(2).random(20_000)
    observed = np.bincount([filters.draw(logits / 1.1, u) for u in uniforms], minlength=20)
    statistic, _, freedom = chi_square(observed, 20_000 * filters.softmax(logits))
    assert statistic > chi_square_limit(freedom)
