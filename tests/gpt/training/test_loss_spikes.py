"""A loss that stands out is reported once; the noise of a healthy run is not."""

import json

import numpy as np
import pytest

from gpt.training.loss_spikes import MEMORY, LossSpikes


def losses(n, seed, noise=0.05, start=4.0, end=1.5):
    """A curve as a model learns: from `start` down to `end`, with the noise of batches."""
    curve = end + (start - end) * np.exp(-np.arange(n) / (n / 6))
    return curve + np.random.default_rng(seed).normal(0, noise, n)


def reports(values):
    spikes = LossSpikes()
    return [number for number, loss in enumerate(values) if spikes.update(float(loss)) is not None]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("n", [200, 5000])
def test_a_healthy_run_raises_no_alarm(noise, n):
    assert [found for seed in range(5) if (found := reports(losses(n, seed, noise)))] == []


def test_noise_with_heavy_tails_raises_no_alarm():
    rng = np.random.default_rng(0)
    assert reports(2 + rng.gamma(4, 0.07, 5000)) == []


@pytest.mark.parametrize("height", [1.0, 3.0, 100.0])
def test_a_spike_is_reported_with_what_was_usual(height):
    values = losses(2000, seed=1)
    values[1500] += height
    assert reports(values) == [1500]
    spikes = LossSpikes()
    usual = [found for loss in values if (found := spikes.update(loss)) is not None]
    assert usual == [pytest.approx(values[1450:1500].mean(), abs=0.1)]


def test_a_loss_that_stays_high_is_reported_once_and_a_second_spike_again():
    values = losses(3000, seed=2)
    values[2000:2010] += 2.0
    values[2500] += 2.0
    assert reports(values) == [2000, 2500]


def test_the_first_steps_are_not_judged():
    assert reports([2.0] * (MEMORY - 1) + [9.0]) == []
    assert reports([2.0] * MEMORY + [9.0]) == [MEMORY]


def test_a_small_rise_is_none_however_calm_it_was():
    assert reports([2.0] * 100 + [2.29]) == []


def test_it_goes_on_from_its_state_bit_for_bit():
    values = losses(400, seed=3)
    values[200:203] += 3.0
    straight, first = LossSpikes(), LossSpikes()
    for loss in values[:201]:
        straight.update(loss)
        first.update(loss)
    resumed = LossSpikes()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for loss in values[201:]:
        assert straight.update(loss) == resumed.update(loss)
    assert straight.state_dict() == resumed.state_dict()


@pytest.mark.parametrize("change", [{"mean": "x"}, {"count": 1.5}, {"more": 1}, {"high": 1}])
def test_a_state_of_something_else_is_refused(change):
    with pytest.raises(ValueError, match="statistics of the loss"):
        LossSpikes().load_state_dict(LossSpikes().state_dict() | change)
    with pytest.raises(ValueError, match="statistics of the loss"):
        LossSpikes().load_state_dict([])
