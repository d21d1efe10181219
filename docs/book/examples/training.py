"""Chapter 10: overfitting with a pencil, and what the runs of training_runs.py say."""

import math
import textwrap

import numpy as np
from book.drawing import BLUE, GREY, ORANGE, new_figure
from book.examples.training_runs import LINES
from book.formulas import block, number, vector
from book.measured import measured

from gpt import GPT, GPTConfig
from nanograd import Device
from nanograd.reference.sampling import top_k, top_p
from nanograd.reference.softmax import softmax

SHOWN = 10  # tokens of the distribution in the figure


def runs() -> dict:
    """Every measured run on characters, by name."""
    found = {"eight lines": measured("training_runs.eight_lines")} | measured("training_runs.sizes")
    return found | measured("training_runs.remedies")


def controls() -> dict:
    return measured("training_runs.controls")


# With a pencil: after "a" came b, twice, in the training text; in the validation text comes c


def pencil_steps(n: int) -> list[np.ndarray]:
    """The scores of b and c after each step, at a rate of 1."""
    s = [np.zeros(2)]
    for _ in range(n):
        s.append(s[-1] - (softmax(s[-1]) - np.array([1.0, 0.0])))
    return s


def pencil_forward():
    p = softmax(np.zeros(2))
    return block(
        rf"s &= (0, 0) \qquad p = {vector(p)}",
        rf"L_{{train}} &= -\log {number(p[0])} = {number(-math.log(p[0]))}",
        rf"L_{{val}} &= -\log {number(p[1])} = {number(-math.log(p[1]))}",
    )


def pencil_backward():
    s = pencil_steps(1)[1]
    p = softmax(s)
    return block(
        r"ds &= p - (1, 0) = (-0.5, 0.5)",
        rf"s &= (0, 0) - 1 \cdot ds = {vector(s)}",
        rf"p &= {vector(p)}",
        rf"L_{{train}} &= -\log {number(p[0])} = {number(-math.log(p[0]))}",
        rf"L_{{val}} &= -\log {number(p[1])} = {number(-math.log(p[1]))}",
    )


def pencil_table():
    steps = pencil_steps(100)
    for n in (0, 1, 2, 5, 20, 100):
        p = softmax(steps[n])
        print(f"step {n:3}: p {np.round(p, 3)!s:14} training {-math.log(p[0]):.4f}, validation {-math.log(p[1]):.4f}")


# The three cases


def three_cases():
    """Three panels of both losses: they fall together; training falls and validation rises; both stay high."""
    found = runs()
    cases = (("390514", "all tales"), ("4000", "4,000 characters"), ("timid", "all, rate 1e-5"))
    figure, panels = new_figure(1, 3, width=6.8, height=2.9, sharey=True)
    for axes, (name, title) in zip(panels, cases, strict=True):
        curve = found[name]["curve"]
        axes.plot(curve["step"], curve["train"], color=BLUE, label="training")
        axes.plot(curve["step"], curve["val"], color=ORANGE, label="validation")
        axes.set(title=title, ylim=(0, 4.1), xlabel="step")
        axes.set_xticks([0, 500, 1000])
    panels[0].set_ylabel("loss")
    panels[0].legend(loc="upper right")
    return figure


def first_loss():
    return f"{runs()['390514']['curve']['val'][0]:.2f}"


def ln_v():
    return f"{math.log(runs()['390514']['vocabulary']):.2f}"


def n_parameters() -> int:
    return GPT(GPTConfig(49, n_layer=2, n_head=4, n_embd=128, block_size=64), Device("numpy")).n_parameters()


def parameters():
    return f"{n_parameters():,}"


def by_size():
    """Runs that differ in their text alone: both losses, and how much of what they write is copied."""
    print("characters  training  validation  best validation  copied  of validation")
    found = runs()
    for name in ("4000", "40000", "390514"):
        run = found[name]
        curve, n = run["curve"], run["characters"]
        best = int(np.argmin(curve["val"]))
        at = f"{curve['val'][best]:.2f} at {curve['step'][best]}"
        losses = f"{curve['train'][-1]:8.2f}  {curve['val'][-1]:10.2f}  {at:>15}"
        print(f"{n:10,}  {losses}  {run['copied']:6.0%}  {run['validation_copied']:13.0%}")


def parrot():
    print(runs()["4000"]["sample"])


def copied_share():
    return f"{runs()['4000']['copied']:.0%}"


def copied_of_validation():
    return f"{runs()['4000']['validation_copied']:.0%}"


def copied_of_all():
    run = runs()["390514"]
    return f"{run['copied']:.0%}"


# Eight lines


def lines():
    print(LINES.rstrip())


def unseen(lang):
    """Of the characters of the validation part, those that the training part does not have."""
    cut = measured("training_runs.eight_lines")["cut"]
    train, val = LINES[:cut], LINES[cut:]
    new = sum(character not in train for character in val)
    return f"{new} of {len(val)}" if lang == "en" else f"{len(val)} 个里有 {new} 个"


def eight_lines():
    """Two curves: training falls to nearly 0, validation rises above 14, far above what knowing nothing costs."""
    run = runs()["eight lines"]
    curve = run["curve"]
    figure, axes = new_figure(height=3.0)
    axes.plot(curve["step"], curve["train"], color=BLUE, label="training")
    axes.plot(curve["step"], curve["val"], color=ORANGE, label="validation")
    axes.axhline(math.log(run["vocabulary"]), color=GREY, linewidth=1, linestyle="--")
    axes.annotate(f"ln {run['vocabulary']}: all characters alike", (420, 4.7), color=GREY)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, 15.5))
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.6))
    return figure


def eight_losses(lang):
    curve = runs()["eight lines"]["curve"]
    return f"{curve['train'][-1]:.2f} {'and' if lang == 'en' else '和'} {curve['val'][-1]:.1f}"


def eight_probability():
    return f"{math.exp(-runs()['eight lines']['curve']['val'][-1]):.7f}"


def eight_vocabulary():
    run = runs()["eight lines"]
    return f"{math.log(run['vocabulary']):.2f}"


# What helps


def remedies():
    """The small text again: at the end, at its best step, with dropout, and with more text."""
    found = runs()
    small, dropout, large = (found[name]["curve"]["val"] for name in ("4000", "dropout", "40000"))
    print(f"4,000 characters, at the end         {small[-1]:.2f}, copied {found['4000']['copied']:.0%}")
    print(f"the same, stopped at the best step   {min(small):.2f}")
    print(f"the same with dropout 0.2            {dropout[-1]:.2f}, copied {found['dropout']['copied']:.0%}")
    print(f"40,000 characters                    {large[-1]:.2f}, copied {found['40000']['copied']:.0%}")


def early():
    found = measured("training_runs.early")
    for t in (0, 1):
        row = found[f"temperature {t}"]
        text = " ".join(row["text"].split())
        print(f"temperature {t}: {row['distinct']:.0%} of all stretches of 4 characters differ\n  {text[:100]}")


# One distribution


def logits() -> np.ndarray:
    return np.array([float(number) for number in controls()["logits"].split()])


def choices():
    """The likeliest ten tokens under each control: probabilities, then the rest."""
    z = logits()
    return {
        "temperature 1": z,
        "temperature 0.5": z / 0.5,
        "temperature 2": z / 2,
        "temperature 2, top-k 6": top_k(z / 2, 6),
        "temperature 2, top-p 0.8": top_p(z / 2, 0.8),
    }


def distribution():
    """Five rows of bars: one distribution as it is, sharper, flatter, and flatter with its tail cut off."""
    names = [token.replace(" ", "␣") for token in controls()["tokens"][:SHOWN]]
    figure, panels = new_figure(5, 1, width=6.2, height=6.2, sharex=True, sharey=True)
    for axes, (title, z) in zip(panels, choices().items(), strict=True):
        p = softmax(z)
        shown = [*p[:SHOWN], p[SHOWN:].sum()]
        axes.bar(range(SHOWN + 1), shown, 0.7, color=[BLUE] * SHOWN + [ORANGE])
        axes.text(9.9, 0.3, title, ha="right", va="center")
        for i, value in enumerate(shown):
            if value == 0:
                axes.text(i, 0.01, "0", ha="center", color=GREY)
        axes.set(ylim=(0, 0.45))
    panels[-1].set_xticks(range(SHOWN + 1), [*names, "rest"], rotation=45, ha="right")
    return figure


def rest():
    """What the tokens behind the likeliest six have together, at three temperatures."""
    z = logits()
    for t in (0.5, 1.0, 1.5, 2.0):
        p = softmax(z / t)
        print(
            f"temperature {t}: the likeliest 6 have {p[:6].sum():6.1%}, the other {len(p) - 6} have {p[6:].sum():6.1%}"
        )


def styles():
    """What the same model writes under each control: the share of its words that exist, and of pieces copied."""
    print("                             words that exist  copied")
    for row in controls()["rows"]:
        setting = ", ".join(f"{name} {row[name]}" for name in ("temperature", "top_k", "top_p") if name in row)
        print(f"{setting:29}{row['known']:16.0%}{row['copied']:8.0%}")


def style_texts():
    for row in controls()["rows"]:
        if row["temperature"] in (0.5, 1.5, 2.0):
            print(", ".join(f"{name} {row[name]}" for name in ("temperature", "top_k", "top_p") if name in row))
            text = " ".join(row["text"].split())
            print("\n".join(textwrap.wrap(text, 92, initial_indent="  ", subsequent_indent="  ")[:3]))


def copied_of_tales():
    return f"{controls()['validation_copied']:.0%}"
