import numpy as np
import pytest

from gpt.diagnose import symptoms
from gpt.diagnose.symptoms import Curves

STEPS = np.arange(100, 1100, 100.0)
SINKING = np.array([3.0, 2.0, 1.5, 1.3, 1.2, 1.14, 1.1, 1.07, 1.05, 1.04])
RULES = {
    "high": symptoms.rate_too_high,
    "over": symptoms.overfitting,
    "low": symptoms.rate_too_low,
    "under": symptoms.underfitting,
    "scarce": symptoms.too_little_text,
}


def curves(**changes) -> Curves:
    """Those of a healthy run, but for the changes."""
    values = {
        "batch_steps": STEPS,
        "batch_loss": np.concatenate([[6.2], SINKING[1:] + 0.05]),
        "steps": STEPS,
        "train": SINKING,
        "val": SINKING + 0.04,
        "max_steps": 1000,
        "lr": 3e-4,
        "n_parameters": 535_296,
        "n_tokens": 135_000,
        "tokens_read": 2_048_000,
        "pair_loss": 2.0,
    }
    return Curves(**(values | changes))


def found(**changes) -> dict:
    return {name: finding for name, rule in RULES.items() if (finding := rule(curves(**changes)))}


def test_nothing_is_wrong_with_a_healthy_run():
    assert found() == {}


def test_overfitting_names_its_first_step_and_the_losses():
    rising = np.array([3.0, 2.1, 1.7, 1.6, 1.65, 1.7, 1.8, 1.9, 2.0, 2.1])
    finding = found(val=rising)["over"]
    assert finding.name == "overfitting since step 400"
    assert "1.600 to 2.100" in finding.signs and "1.300 to 1.040" in finding.signs
    assert "--max_steps 400" in finding.change and "--dropout" in finding.change


def test_validation_that_rises_by_a_hair_or_with_training_is_not_overfitting():
    assert "over" not in found(val=np.append(SINKING[:-1] + 0.04, SINKING[-2] + 0.05))
    assert "over" not in found(train=SINKING[::-1], val=SINKING[::-1] + 0.1)


@pytest.mark.parametrize(
    ("changes", "sign", "change"),
    [
        ({"batch_loss": np.array([6.2, 3.0, *[np.nan] * 8])}, "no longer a finite number at step 300", "--lr 3e-05"),
        ({"batch_loss": np.array([3.9, 13.0, *[4.0] * 8])}, "13.00 at step 200", "--lr 3e-05"),
        ({"train": np.append(SINKING[:8], [2.5, 2.4])}, "climbed from 1.070 back to 2.500 at step 900", "--lr 3e-05"),
        ({"train": SINKING * 0 + 2.6, "val": SINKING * 0 + 2.6, "lr": 0.1}, "stuck at 2.600", "--lr 0.001"),
    ],
)
def test_a_rate_too_high(changes, sign, change):
    finding = found(**changes)["high"]
    assert sign in finding.signs and change in finding.change


def test_a_rate_too_low_has_not_got_far():
    slow = np.linspace(6.1, 5.5, 10)
    finding = found(train=slow, val=slow, lr=1e-5)["low"]
    assert "no better than a table of token pairs" in finding.signs and "times below the usual" in finding.signs
    assert "--lr 0.001" in finding.change
    assert "low" not in found(train=slow, val=slow, lr=3e-4), "such a rate is usual: something else is wrong"


def test_underfitting_asks_for_steps_while_the_loss_falls_and_for_size_when_it_is_flat():
    falling = np.linspace(5.0, 2.5, 10)
    finding = found(train=falling, val=falling)["under"]
    assert "last quarter" in finding.signs and "--max_steps 2000" in finding.change
    flat = np.array([3.0, 2.6, 2.5, *[2.46] * 7])
    finding = found(train=flat, val=flat)["under"]
    assert "no better than a table of token pairs, 2.000" in finding.signs and "--n_embd" in finding.change


def test_too_little_text_needs_few_tokens_many_passes_and_a_gap():
    gap = {"val": SINKING + 0.5}
    finding = found(**gap, n_tokens=4000)["scarce"]
    assert "4,000 tokens" in finding.signs and "535,296 parameters" in finding.signs and "512 times" in finding.signs
    assert "scarce" not in found(n_tokens=4000)
    assert "scarce" not in found(**gap, n_tokens=1_000_000)
    assert "scarce" not in found(**gap, n_tokens=4000, tokens_read=8000)


def test_few_evaluations_are_no_trend():
    assert found(steps=STEPS[:3], train=SINKING[:3], val=SINKING[:3][::-1]) == {}


def test_losses_that_are_not_finite_raise_no_second_alarm():
    broken = SINKING.copy()
    broken[5:] = np.nan
    assert set(found(train=broken, val=broken)) <= {"high"}


def test_parroting_is_measured_against_the_validation_text():
    assert symptoms.parroting(0.9, 0.2, 8) and symptoms.parroting(0.61, 0.2, 8)
    assert not symptoms.parroting(0.59, 0.2, 8) and not symptoms.parroting(0.6, 0.45, 32)
    assert not symptoms.parroting(float("nan"), 0.2, 8)
    assert "90%" in symptoms.parroting(0.9, 0.2, 8).signs and "20%" in symptoms.parroting(0.9, 0.2, 8).signs


def test_looping_is_measured_against_the_validation_text():
    assert symptoms.looping(0.3, 0.9, 4) and not symptoms.looping(0.5, 0.9, 4)
    assert symptoms.looping(0.05, 0.06, 4), "a loop is one, even where the text loops as well"
    assert "--repetition_penalty" in symptoms.looping(0.3, 0.9, 4).change
