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
SAMPLE_FLAGS_ZH = "sample.py 的 --temperature 1、--top_p 0.98 或 --repetition_penalty 1.2"


@dataclass(frozen=True)
class Chinese:
    """What a Finding says, in Chinese."""

    name: str
    signs: str
    change: str


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what it is called, what shows it, and which flags to change."""

    name: str
    signs: str
    change: str
    chinese: Chinese


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
        return usual_rate(self.n_parameters)

    @property
    def is_short(self) -> bool:
        return len(self.steps) < FEWEST_EVALUATIONS


def usual_rate(n_parameters: int) -> float:
    """The learning rate that the rule of thumb gives a model of so many parameters."""
    return max(1e-4, 0.003239 - 0.0001395 * math.log(n_parameters))


def worse_than_pairs(curves: Curves) -> Finding | None:
    """Of a run too short for a trend: what one evaluation shows already."""
    if not curves.is_short or not len(curves.val) or not curves.val[-1] > curves.pair_loss:
        return None
    return Finding(
        "nothing learned yet",
        f"validation loss {curves.val[-1]:.3f} is worse than that of a table of token pairs, {curves.pair_loss:.3f}.",
        f"--max_steps {max(1000, 2 * curves.max_steps)}",
        Chinese(
            "还没有学到东西",
            f"验证损失 {curves.val[-1]:.3f} 还不如统计相邻两个词元的表，后者是 {curves.pair_loss:.3f}。",
            f"--max_steps {max(1000, 2 * curves.max_steps)}",
        ),
    )


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
        f"{curves.train[best]:.3f} to {curves.train[-1]:.3f}: the model memorises its text. The checkpoint of "
        f"the best step is kept.",
        f"--max_steps {step}, --dropout 0.2, a smaller --n_embd, or more --data",
        Chinese(
            f"过拟合，从第 {step:,} 步开始",
            f"验证损失从 {curves.val[best]:.3f} 升到 {curves.val[-1]:.3f}，而训练损失从 {curves.train[best]:.3f} 降到 "
            f"{curves.train[-1]:.3f}：模型在背书。最好的那一步的检查点已保留。",
            f"--max_steps {step}、--dropout 0.2、更小的 --n_embd，或更多的 --data",
        ),
    )


def rate_too_high(curves: Curves) -> Finding | None:
    """The loss left the finite numbers, climbed back, or got stuck at a rate far above the usual."""
    rate, was = brief(lower_rate(curves.lr, curves.n_parameters)), brief(curves.lr)
    lower, lower_zh = (
        f"--lr {rate} (it was {was}), or more --warmup_steps",
        f"--lr {rate}（原来是 {was}），或更大的 --warmup_steps",
    )
    name, name_zh = "learning rate too high", "学习率过高"
    if not np.isfinite(curves.batch_loss).all():
        step = int(curves.batch_steps[~np.isfinite(curves.batch_loss)][0])
        return Finding(
            name,
            f"the loss was no longer a finite number at step {step:,}.",
            lower,
            Chinese(name_zh, f"第 {step:,} 步的损失已不是有限的数。", lower_zh),
        )
    if len(curves.batch_loss) and curves.batch_loss.max() > curves.batch_loss[0] + 0.5:
        worst = int(curves.batch_loss.argmax())
        return Finding(
            name,
            f"training loss was {curves.batch_loss[worst]:.2f} at step {int(curves.batch_steps[worst]):,}, worse than "
            f"the {curves.batch_loss[0]:.2f} it began with.",
            lower,
            Chinese(
                name_zh,
                f"第 {int(curves.batch_steps[worst]):,} 步的训练损失是 {curves.batch_loss[worst]:.2f}，比一开始的 "
                f"{curves.batch_loss[0]:.2f} 还高。",
                lower_zh,
            ),
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
            Chinese(
                name_zh,
                f"训练损失从 {lowest[worst]:.3f} 又升回 {curves.train[worst]:.3f}"
                f"（第 {int(curves.steps[worst]):,} 步）。",
                lower_zh,
            ),
        )
    if not curves.is_short and curves.lr > RATE_FACTOR * curves.usual_rate and curves.val[-1] > curves.pair_loss:
        return Finding(
            name,
            f"validation loss is stuck at {curves.val[-1]:.3f}, where a table of token pairs reaches "
            f"{curves.pair_loss:.3f}, at a rate {curves.lr / curves.usual_rate:.0f} times the usual one for "
            f"{curves.n_parameters:,} parameters.",
            f"--lr {brief(curves.usual_rate)} (it was {brief(curves.lr)})",
            Chinese(
                name_zh,
                f"验证损失停在 {curves.val[-1]:.3f}，而只数相邻词元对的表就能达到 {curves.pair_loss:.3f}；对 "
                f"{curves.n_parameters:,} 个参数来说，学习率是通常的 {curves.lr / curves.usual_rate:.0f} 倍。",
                f"--lr {brief(curves.usual_rate)}（原来是 {brief(curves.lr)}）",
            ),
        )
    return None


def rate_too_low(curves: Curves) -> Finding | None:
    """Not done at the end, at a rate far below the usual."""
    signs, signs_zh = _unfinished(curves)
    if not signs or curves.lr * RATE_FACTOR >= curves.usual_rate:
        return None
    return Finding(
        "learning rate too low",
        f"{signs}; and the rate is {curves.usual_rate / curves.lr:.0f} times below the usual one for "
        f"{curves.n_parameters:,} parameters.",
        f"--lr {brief(curves.usual_rate)} (it was {brief(curves.lr)})",
        Chinese(
            "学习率过低",
            f"{signs_zh}；而且对 {curves.n_parameters:,} 个参数来说，学习率只有通常的 "
            f"{curves.usual_rate / curves.lr:.0f} 分之一。",
            f"--lr {brief(curves.usual_rate)}（原来是 {brief(curves.lr)}）",
        ),
    )


def underfitting(curves: Curves) -> Finding | None:
    """Not done at the end, at a rate that is not to blame."""
    signs, signs_zh = _unfinished(curves)
    if not signs:
        return None
    if _last_quarter(curves) > STILL_FALLING or curves.lr * curves.max_steps < SHORT_WAY:
        change = f"--max_steps {2 * curves.max_steps}, or a higher --lr"
        change_zh = f"--max_steps {2 * curves.max_steps}，或更高的 --lr"
    else:
        change = "a larger model: --n_embd, --n_layer; or a higher --lr"
        change_zh = "更大的模型：--n_embd、--n_layer；或更高的 --lr"
    return Finding("underfitting", f"{signs}.", change, Chinese("欠拟合", f"{signs_zh}。", change_zh))


def _unfinished(curves: Curves) -> tuple[str, str]:
    """The signs that a model has not learned what its text has to teach, in English and Chinese; empty if none."""
    if curves.is_short or not np.isfinite(curves.val).all():
        return "", ""
    signs, signs_zh = [], []
    if curves.val[-1] > curves.pair_loss:
        signs.append(
            f"validation loss {curves.val[-1]:.3f} is no better than a table of token pairs, {curves.pair_loss:.3f}"
        )
        signs_zh.append(f"验证损失 {curves.val[-1]:.3f} 并不比只数相邻词元对的表（{curves.pair_loss:.3f}）更好")
    share = _last_quarter(curves)
    if share > STILL_FALLING:
        signs.append(f"{100 * share:.0f}% of all progress was made in the last quarter of the steps: still falling")
        signs_zh.append(f"全部进步中有 {100 * share:.0f}% 是在最后四分之一的步数里取得的：损失还在下降")
    return "; ".join(signs), "；".join(signs_zh)


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
        Chinese(
            "相对参数量，文本太少",
            f"{curves.n_parameters:,} 个参数只有 {curves.n_tokens:,} 个训练词元，每个参数 {ratio:.2f} 个"
            f"（Hoffmann 等人 2022 年的结论是约 {TOKENS_PER_PARAMETER} 个最好），读了 {passes:.0f} 遍；"
            f"验证损失比训练损失高 {gap:.2f}。",
            "更多的 --data、更小的 --n_embd 或 --n_layer，或 --dropout 0.2",
        ),
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
        Chinese(
            "背书",
            f"样本里 {100 * share:.0f}% 的 {n} 个词元的片段一字不差地出现在训练文本中；"
            f"验证文本里是 {100 * usual:.0f}%。",
            "train.py：更少的 --max_steps、--dropout 0.2 或更多的 --data；sample.py：更高的 --temperature",
        ),
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
        Chinese(
            "反复循环（复读）",
            f"样本的 distinct-{n} 是 {distinct:.2f}：{n} 个词元的片段中只有这么多不重复；验证文本里是 {usual:.2f}。",
            f"{SAMPLE_FLAGS_ZH}；如果没有用，增加 train.py 的 --max_steps",
        ),
    )


def lower_rate(lr: float, n_parameters: int) -> float:
    """A rate to try in place of one that was too high."""
    return min(lr / 10, usual_rate(n_parameters))


def brief(value: float) -> str:
    """A learning rate with one digit that counts: 0.0014 -> 0.001."""
    return f"{value:.1g}"
