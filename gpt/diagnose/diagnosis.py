"""What is wrong with a run, in plain words with numbers, and which flag to change.

    python -m gpt.diagnose out/tales

train.py says the same at the end of a run. The learning curves come from metrics.jsonl (symptoms.py has the
rules); whether the model copies its text or repeats itself is seen on samples of it, beside its validation text: a text
of set phrases repeats itself too, and that is nothing to hold against a model that learned it.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gpt.cli import command_line as cli
from gpt.cli.output import say, show
from gpt.config.flags import Checked, flag
from gpt.config.options import ChoiceFlags, MachineFlags, RunDirFlags, TextFlags, WhichFlags
from gpt.diagnose import symptoms
from gpt.diagnose.symptoms import Curves, Finding
from gpt.diagnose.text_statistics import COPIED_LENGTHS, copied_share, distinct_n, pair_loss
from gpt.model import GPT
from gpt.notebook import html
from gpt.runs import folder as run_folder
from gpt.runs.checkpoint import list_steps
from gpt.runs.history import History
from gpt.runs.load import find_text, load_model
from gpt.sampling.command import blas_threads, choices
from gpt.sampling.generate import Generation
from gpt.sampling.streaming import start_ids
from gpt.tokenizers import load_tokenizer
from nanograd import Device
from nanograd.device.cores import counted

SAMPLES = 4
DISTINCT = 4  # the n of distinct-n
VALIDATION_SAMPLES = 40
NUMBERS_IN_CHINESE = {
    "train loss": "训练损失",
    "validation loss": "验证损失",
    "of a table of token pairs": "只数相邻词元对的表的损失",
    "tokens a parameter": "每个参数的训练词元数",
    "of validation's": "验证文本中的比例",
    f"distinct-{DISTINCT}": f"distinct-{DISTINCT}（不重复的比例）",
    "validation's": "验证文本的 distinct",
}

HEALTHY = "no sign of over- or underfitting, of a wrong learning rate, or of bad samples"
HEALTHY_IN_CHINESE = "没有过拟合、欠拟合、学习率不当或样本异常的迹象"

NO_TEXT = np.zeros(0, np.int64)

EXAMPLES = """\
examples:
  python -m gpt.diagnose out/tales
  python -m gpt.diagnose out/tales --temperature 0      are the likeliest continuations loops?
"""


@dataclass(frozen=True, kw_only=True)
class DiagnoseFlags(Checked):
    num_samples: int = flag(SAMPLES, "samples to look at", at_least=1, at_most=1000)
    max_new_tokens: int = flag(200, "length of each", at_least=1, aliases=("max_tokens",))
    json: bool = flag(False, "print one JSON object")


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(MachineFlags, TextFlags, DiagnoseFlags, ChoiceFlags, WhichFlags, RunDirFlags):
    """What is wrong with a run, and which flag to change."""

    checkpoint: str = flag("latest", "best (by validation loss), latest, or a step", metavar="WHICH")


@dataclass(frozen=True)
class Diagnosis:
    """`findings`, the worst first, none for a healthy run; `numbers`: what was measured, by name; a `note` or ""."""

    findings: list[Finding]
    numbers: dict[str, float]
    note: str
    note_in_chinese: str = ""

    def report(self) -> str:
        """A few lines for a person."""
        lines = []
        for finding in self.findings:
            lines += [f"- {finding.name}: {finding.signs}", f"  change: {finding.change}"]
        if not lines and not self.note:
            lines = [HEALTHY]
        if self.note:
            lines.append(self.note)
        numbers = ", ".join(f"{name} {value:,.3g}" for name, value in self.numbers.items())
        return "\n".join(["diagnosis:", *lines, f"({numbers})"])

    def html(self, language: str = "en") -> str:
        """The same as HTML; `language` is "en" or "zh"."""
        chinese = language == "zh"
        parts = []
        for found in self.findings:
            words = found.chinese if chinese else found
            colon, change = ("：", "可以改：") if chinese else (":", "change:")
            parts += [html.paragraph(words.signs, f"{words.name}{colon}"), html.paragraph(words.change, change)]
        note = self.note_in_chinese if chinese else self.note
        if not parts and not note:
            parts = [html.paragraph(HEALTHY_IN_CHINESE if chinese else HEALTHY)]
        if note:
            parts.append(html.paragraph(note))
        rows = [(number_in_chinese(name) if chinese else name, value) for name, value in self.numbers.items()]
        return "".join(parts) + html.table(["诊断", "数值"] if chinese else ["diagnosis", "value"], rows)

    def _repr_html_(self) -> str:
        return self.html()


def diagnose(
    run: History,
    n_parameters: int,
    vocab_size: int,
    train: np.ndarray,
    val: np.ndarray,
    samples: Sequence[Sequence[int]] = (),
) -> Diagnosis:
    """Judge a run by its measurements, the ids it was trained and validated on, and samples (may be none).

    Without text (no ids) what needs it is left out: baseline, tokens for each parameter, copies, repetition.
    """
    curves = read_curves(run, n_parameters, vocab_size, train, val)
    numbers = {}
    if len(curves.val):
        numbers |= {"train loss": curves.train[-1], "validation loss": curves.val[-1]}
    if len(train):
        numbers |= {"of a table of token pairs": curves.pair_loss, "tokens a parameter": len(train) / n_parameters}
    rate = symptoms.rate_too_high(curves)
    over = symptoms.overfitting(curves)
    found = [rate, over, None if rate else symptoms.worse_than_pairs(curves)]
    if not rate:
        scarce = symptoms.too_little_text(curves) if len(train) else None
        found.append(scarce)
        if not over and not scarce:
            found.append(symptoms.rate_too_low(curves) or symptoms.underfitting(curves))
    if len(train):
        found += judge_samples(samples, train, val, vocab_size, numbers)
    note = note_in_chinese = ""
    if curves.is_short:
        note = (
            f"too early to judge the curves: {counted(len(curves.steps), 'evaluation')}, and a trend needs "
            f"{symptoms.FEWEST_EVALUATIONS} (more --max_steps, or a lower --eval_interval)"
        )
        note_in_chinese = (
            f"曲线太短，无法判断：只有 {len(curves.steps)} 次评估，看趋势至少要 {symptoms.FEWEST_EVALUATIONS} 次"
            "（更小的 --eval_interval 会多做几次）"
        )
    findings = [finding for finding in found if finding]
    return Diagnosis(findings, {k: float(v) for k, v in numbers.items()}, note, note_in_chinese)


def read_curves(run: History, n_parameters: int, vocab_size: int, train: np.ndarray, val: np.ndarray) -> Curves:
    config = run.config
    batch_steps, batch_loss = run.column("loss")
    evaluations = np.array(run.column("train_loss", "val_loss"))
    steps, train_loss, val_loss = evaluations[:, evaluations[0] > 0]  # from the first one after a step on
    last = run.lines[-1]["step"]
    return Curves(
        batch_steps=batch_steps,
        batch_loss=batch_loss,
        steps=steps,
        train=train_loss,
        val=val_loss,
        max_steps=config.max_steps,
        lr=config.lr,
        n_parameters=n_parameters,
        n_tokens=len(train),
        tokens_read=last * config.batch_size * config.grad_accum * config.block_size,
        pair_loss=pair_loss(train, val, vocab_size) if len(train) else math.inf,
    )


def number_in_chinese(name: str) -> str:
    """What one of a Diagnosis' numbers is called in Chinese."""
    return NUMBERS_IN_CHINESE.get(name) or re.sub(r"copied (\d+)-grams", r"照抄训练文本的 \1 元组", name)


def judge_samples(samples, train, val, vocab_size, numbers: dict) -> list[Finding | None]:
    """Parroting and loops, if there are samples long enough; what was measured goes into `numbers`."""
    length = max(map(len, samples), default=0)
    if length < min(COPIED_LENGTHS):
        return []
    usual = pieces(val, length)
    for n in (n for n in COPIED_LENGTHS if n <= length):
        normal = copied_share(usual, train, n, vocab_size)
        if not normal >= 0.5:  # long enough for most of a new text to be new; NaN where it is too short to tell
            break
    normal = 0.0 if np.isnan(normal) else normal
    share = copied_share(samples, train, n, vocab_size)
    distinct, natural = distinct_n(samples, DISTINCT), distinct_n(usual, DISTINCT)
    natural = 1.0 if np.isnan(natural) else natural
    numbers |= {f"copied {n}-grams": share, "of validation's": normal}
    numbers |= {f"distinct-{DISTINCT}": distinct, "validation's": natural}
    return [symptoms.parroting(share, normal, n), symptoms.looping(distinct, natural, DISTINCT)]


def pieces(tokens: np.ndarray, length: int) -> list[np.ndarray]:
    """Up to VALIDATION_SAMPLES stretches of `length` tokens, spread evenly over a text; all of it if it is shorter."""
    if len(tokens) <= length:
        return [tokens]
    count = min(VALIDATION_SAMPLES, len(tokens) // length)
    starts = np.linspace(0, len(tokens) - length, count).astype(int)
    return [tokens[start : start + length] for start in starts]


def sample_ids(
    model, tokenizer, n_tokens: int, num_samples: int = SAMPLES, watch=lambda steps: steps, **controls
) -> list[list[int]]:
    """The ids of some samples that start from nothing; `controls` as for `gpt.sampling.generate`.

    `watch(steps)` may look at the steps on their way, and end them early.
    """
    steps = Generation(model, start_ids(tokenizer, ""), n_tokens, num_samples=num_samples, **controls)
    return [[token.id for token in sample] for sample in zip(*watch(steps), strict=True)]


def main(arguments: list[str]) -> int:
    config = cli.parse(DiagnoseConfig, arguments, "python -m gpt.diagnose", EXAMPLES)
    run_dir = Path(config.run_dir) if config.run_dir is not None else run_folder.newest()
    run = History(run_dir)
    if list_steps(run_dir):
        model, tokenizer, checkpoint = load_model(run_dir, config.which, config.backend)
        data, reason = find_text(run_dir, tokenizer, checkpoint, config.data)
        controls = choices(config, run.config.seed if config.seed is None else config.seed)
        say(f"{run_dir}, step {checkpoint.step}; samples with seed {controls['seed']}")
        with blas_threads(config.threads, model):
            samples = sample_ids(model, tokenizer, config.max_new_tokens, config.num_samples, **controls)
    else:  # it diverged, or was stopped, before the first one
        say(f"{run_dir} has no checkpoint, so there are no samples to judge")
        tokenizer = load_tokenizer(run_dir)
        data, reason = find_text(run_dir, tokenizer, None, config.data)
        samples = []
        model = GPT(run.config.model_config(tokenizer.vocab_size), Device("numpy"))
    if reason:
        say(f"{reason}; {'judged without it' if data is None else 'judged with it all the same'}")
    train, val = (data.train, data.val) if data else (NO_TEXT, NO_TEXT)
    found = diagnose(run, model.n_parameters(), tokenizer.vocab_size, train, val, samples)
    if config.json:
        numbers = {name: None if np.isnan(value) else value for name, value in found.numbers.items()}
        findings = [asdict(finding) for finding in found.findings]
        about = {"run": str(run_dir), "findings": findings, "numbers": numbers, "note": found.note}
        print(json.dumps(about, allow_nan=False))
    else:
        show(found.report(), indent="  ")
    return 0
