"""What can be wrong with a run, each as a rule over its measurements: signs with numbers, and the flag to change.

A rule gives a Finding or None. The limits were set on runs made to show each case, and so that a default run shows
none. Learning rates are judged against a rule of thumb for models of n parameters trained with Adam (Kaplan et al.
2020, equation D.1):  rate = 0.003239 - 0.0001395 ln n.
"""

import math
from dataclasses import dataclass

import numpy as np

FEWEST_EVALUATIONS = 4  # to call something a trend
RATE_FACTOR = 10  # this far from the rule of thumb, a rate is suspect
STILL_FALLING = 0.03  # share of all progress that was made in the last quarter of the steps
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022
SHORT_WAY = 0.2  # lr * steps, further than which AdamW hardly moves any weight: then it is too early to blame the model
SAMPLE_FLAGS = "--temperature 1, --top_p 0.98 or --repetition_penalty 1.2 of sample.py"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what it is called, what shows it, and which flags to change."""

    name: str
    signs: str
    change: str


@dataclass(frozen=True)
class Curves:
    """What a run measured. Arrays are float64; NaN stands for what was not finite."""

    batch_steps: np.ndarray  # of each logged batch
    batch_loss: np.ndarray
    steps: np.ndarray  # of each evaluation
    train: np.ndarray
    val: np.ndarray
    max_steps: int
    lr: float
    n_parameters: int
    n_tokens: int  # of the training text
    tokens_read: int  # in all steps
    pair_loss: float  # on the validation text, of a table of token pairs

    @property
    def usual_rate(self) -> float:
        return max(1e-4, 0.003239 - 0.0001395 * math.log(self.n_parameters))

    @property
    def is_short(self) -> bool:
        return len(self.steps) < FEWEST_EVALUATIONS


def overfitting(curves: Curves) -> Finding | None:
    """Validation rose from its best step to the end, while training fell."""
    if curves.is_short or not np.isfinite(curves.val).all():
        return None
    best = int(curves.val.argmin())
    rise = curves.val[-1] - curves.val[best]
    fall = curves.train[best] - curves.train[-1]
    if rise <= max(0.02, 0.03 * curves.val[best]) or fall <= 0 or np.median(curves.val[best:]) <= curves.val[best]:
        return None
    step = int(curves.steps[best])
    return Finding(
        f"overfitting since step {step:,}",
        f"validation loss rose from {curves.val[best]:.3f} to {curves.val[-1]:.3f} while training loss fell from "
        f"{curves.train[best]:.3f} to {curves.train[-1]:.3f}: the model learns its text by heart. The checkpoint of "
        f"the best step is kept.",
        f"--max_steps {step}, --dropout 0.2, a smaller --n_embd, or more --data",
    )


def rate_too_high(curves: Curves) -> Finding | None:
    """The loss left the finite numbers, climbed back, or got stuck at a rate far above the usual."""
    lower = f"--lr {brief(min(curves.lr / 10, curves.usual_rate))} (it was {brief(curves.lr)}), or more --warmup_steps"
    name = "learning rate too high"
    if not np.isfinite(curves.batch_loss).all():
        step = int(curves.batch_steps[~np.isfinite(curves.batch_loss)][0])
        return Finding(name, f"the loss was no longer a finite number at step {step:,}.", lower)
    if len(curves.batch_loss) and curves.batch_loss.max() > curves.batch_loss[0] + 0.5:
        worst = int(curves.batch_loss.argmax())
        return Finding(
            name,
            f"training loss was {curves.batch_loss[worst]:.2f} at step {int(curves.batch_steps[worst]):,}, worse than "
            f"the {curves.batch_loss[0]:.2f} it began with.",
            lower,
        )
    lowest = np.minimum.accumulate(curves.train) if len(curves.train) else curves.train
    climbs = curves.train - lowest - np.maximum(0.1, 0.1 * lowest)
    if len(climbs) and climbs.max() > 0:
        worst = int(climbs.argmax())
        return Finding(
            name,
            f"training loss climbed from {lowest[worst]:.3f} back to {curves.train[worst]:.3f} at step "
            f"{int(curves.steps[worst]):,}.",
            lower,
        )
    if not curves.is_short and curves.lr > RATE_FACTOR * curves.usual_rate and curves.val[-1] > curves.pair_loss:
        return Finding(
            name,
            f"validation loss is stuck at {curves.val[-1]:.3f}, where a table of token pairs reaches "
            f"{curves.pair_loss:.3f}, at a rate {curves.lr / curves.usual_rate:.0f} times the usual one for "
            f"{curves.n_parameters:,} parameters.",
            f"--lr {brief(curves.usual_rate)} (it was {brief(curves.lr)})",
        )
    return None


def rate_too_low(curves: Curves) -> Finding | None:
    """Not done at the end, at a rate far below the usual."""
    signs = _unfinished(curves)
    if not signs or curves.lr * RATE_FACTOR >= curves.usual_rate:
        return None
    return Finding(
        "learning rate too low",
        f"{signs}; and the rate is {curves.usual_rate / curves.lr:.0f} times below the usual one for "
        f"{curves.n_parameters:,} parameters.",
        f"--lr {brief(curves.usual_rate)} (it was {brief(curves.lr)})",
    )


def underfitting(curves: Curves) -> Finding | None:
    """Not done at the end, at a rate that is not to blame."""
    signs = _unfinished(curves)
    if not signs:
        return None
    if _last_quarter(curves) > STILL_FALLING or curves.lr * curves.max_steps < SHORT_WAY:
        change = f"--max_steps {2 * curves.max_steps}, or a higher --lr"
    else:
        change = "a larger model: --n_embd, --n_layer; or a higher --lr"
    return Finding("underfitting", f"{signs}.", change)


def _unfinished(curves: Curves) -> str:
    """The signs that a model has not learned what its text has to teach; empty if there are none."""
    if curves.is_short or not np.isfinite(curves.val).all():
        return ""
    signs = []
    if curves.val[-1] > curves.pair_loss:
        signs.append(
            f"validation loss {curves.val[-1]:.3f} is no better than a table of token pairs, {curves.pair_loss:.3f}"
        )
    share = _last_quarter(curves)
    if share > STILL_FALLING:
        signs.append(f"{100 * share:.0f}% of all progress was made in the last quarter of the steps: still falling")
    return "; ".join(signs)


def _last_quarter(curves: Curves) -> float:
    """The share of the fall of the validation loss, from the first logged loss on, in the last quarter of steps."""
    start = curves.batch_loss[0] if len(curves.batch_loss) else curves.val[0]
    before = np.interp(0.75 * curves.steps[-1], curves.steps, curves.val)
    fall, whole = before - curves.val[-1], start - curves.val[-1]
    return fall / whole if whole > 0 and fall > 0.02 else 0.0


def too_little_text(curves: Curves) -> Finding | None:
    """Fewer tokens than parameters, read over and over, and a gap between training and validation."""
    passes = curves.tokens_read / curves.n_tokens
    ratio = curves.n_tokens / curves.n_parameters
    if curves.is_short or ratio >= 1 or passes < 5:
        return None
    gap = curves.val[-1] - curves.train[-1]
    if not gap > max(0.1, 0.1 * curves.val[-1]):
        return None
    return Finding(
        "too little text for the parameters",
        f"{curves.n_tokens:,} tokens to train on for {curves.n_parameters:,} parameters, {ratio:.2f} each (about "
        f"{TOKENS_PER_PARAMETER} each is what Hoffmann et al. 2022 found best), read {passes:.0f} times; validation "
        f"loss is {gap:.2f} above training loss.",
        "more --data, a smaller --n_embd or --n_layer, or --dropout 0.2",
    )


def parroting(share: float, usual: float, n: int) -> Finding | None:
    """More than half of what could be new is copied: `share` of sampled n-grams, `usual` of the validation text's."""
    if not share > usual + (1 - usual) / 2:
        return None
    return Finding(
        "parroting",
        f"{100 * share:.0f}% of all sampled stretches of {n} tokens stand word for word in the training text; of the "
        f"validation text it is {100 * usual:.0f}%.",
        "fewer --max_steps, --dropout 0.2 or more --data of train.py; a higher --temperature of sample.py",
    )


def looping(distinct: float, usual: float, n: int) -> Finding | None:
    """Less than half as many different n-grams as in the validation text, or next to none."""
    if not (distinct < 0.5 * usual or distinct < 0.1):
        return None
    return Finding(
        "repetition loops",
        f"distinct-{n} of the samples is {distinct:.2f}: so many of their sequences of {n} tokens are new ones; of the "
        f"validation text it is {usual:.2f}.",
        f"{SAMPLE_FLAGS}; if that does not help, more --max_steps of train.py",
    )


def brief(value: float) -> str:
    """A learning rate with one digit that counts: 0.0014 -> 0.001."""
    return f"{value:.1g}"
