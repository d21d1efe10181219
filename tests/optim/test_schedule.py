import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanograd.optim.schedule import warmup_cosine, warmup_stable_decay


def test_values_worked_by_hand():
    rates = [warmup_cosine(s, lr=1.0, min_lr=0.1, warmup_steps=4, max_steps=9) for s in range(9)]
    cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * k / 5)) for k in range(1, 6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, *cosine])


@given(st.integers(0, 50), st.integers(1, 200), st.floats(1e-6, 1), st.floats(0, 1))
def test_first_rate_is_above_0_last_is_min_lr_and_none_is_outside(warmup, steps, lr, share):
    min_lr = lr * share
    settings = {"lr": lr, "min_lr": min_lr, "warmup_steps": warmup, "max_steps": steps}
    rates = [warmup_cosine(step, **settings) for step in range(steps)]
    assert steps == 1 or rates[0] > 0
    assert rates[-1] == (min_lr if steps > 1 else lr)
    assert all(rate <= lr * (1 + 1e-12) for rate in rates)
    after = rates[min(warmup, steps - 1) :]
    assert all(rate >= min_lr * (1 - 1e-12) for rate in after)
    assert all(a >= b - 1e-15 for a, b in pairwise(after))
    assert warmup_cosine(steps + 10, **settings) == min_lr


def test_rates_are_told_apart_by_name():
    with pytest.raises(TypeError):
        warmup_cosine(0, 1.0, 0.1, 4, 9)


def test_rises_in_equal_steps_to_lr():
    rates = [warmup_cosine(s, lr=0.5, min_lr=0.0, warmup_steps=10, max_steps=100) for s in range(10)]
    assert rates == pytest.approx([0.05 * k for k in range(1, 11)])
    assert warmup_cosine(10, lr=0.5, min_lr=0.0, warmup_steps=10, max_steps=100) < 0.5


@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_without_warmup_the_first_step_is_at_lr(steps):
    assert warmup_cosine(0, lr=0.5, min_lr=0.1, warmup_steps=0, max_steps=steps) == 0.5


def test_a_run_of_one_step_learns_at_lr():
    assert warmup_cosine(0, lr=0.5, min_lr=0.1, warmup_steps=0, max_steps=1) == 0.5
    assert warmup_cosine(0, lr=0.5, min_lr=0.1, warmup_steps=10, max_steps=1) == 0.5
    assert warmup_stable_decay(0, lr=0.5, min_lr=0.1, warmup_steps=10, max_steps=1, decay_share=0.5) == 0.5


@pytest.mark.parametrize("name", ["step", "warmup_steps"])
def test_a_negative_number_of_steps_is_refused(name):
    counts = {"step": 0, "warmup_steps": 0, name: -1}
    for schedule, more in ((warmup_cosine, {}), (warmup_stable_decay, {"decay_share": 0.5})):
        with pytest.raises(ValueError, match=f"^{name} must be at least 0, not -1"):
            schedule(**counts, lr=1.0, min_lr=0.1, max_steps=4, **more)


def test_flat_then_a_line_worked_by_hand():
    settings = {"lr": 1.0, "min_lr": 0.2, "warmup_steps": 2, "max_steps": 10}
    rates = [warmup_stable_decay(s, **settings, decay_share=0.4) for s in range(10)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert warmup_stable_decay(20, **settings, decay_share=0.4) == 0.2
    assert [warmup_stable_decay(s, **settings, decay_share=0.0) for s in (1, 5, 9, 20)] == [1.0] * 4


@given(st.integers(0, 50), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_flat_rates_stay_within_bounds_and_only_one_that_begins_falls(warmup, steps, share, decay_share):
    settings = {"lr": 0.5, "min_lr": 0.5 * share, "warmup_steps": warmup, "max_steps": steps}
    rates = [warmup_stable_decay(step, **settings, decay_share=decay_share) for step in range(steps)]
    assert all(0 <= rate <= 0.5 for rate in rates)
    assert steps == 1 or rates[0] > 0 or steps == 2
    top = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: top + 1])) and all(a >= b for a, b in pairwise(rates[top:]))


def test_a_run_of_one_step_without_warmup_learns():
    assert warmup_stable_decay(0, lr=0.5, min_lr=0.0, warmup_steps=0, max_steps=1, decay_share=1.0) == 0.5
