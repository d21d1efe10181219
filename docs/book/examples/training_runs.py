"""The training runs of chapter 10, each measured once: `python docs/book/build.py --measure training_runs.NAME`."""

import re

import numpy as np

from exercises.catalog import TASKS
from gpt import GPT, GPTConfig
from gpt.config.options import TrainConfig
from gpt.diagnose.text_statistics import copied_share, distinct_n
from gpt.sampling.generate import Generation
from gpt.training.step import Trainer
from nanograd import Device
from tokenizers import BPETokenizer, CharTokenizer

LINES = """\
The moon came up over the quiet bay, and the boats lay still on the dark water.
A boy sat on the pier and counted the lights on the far shore: one, two, three.
"Who lives over there?" he asked. "People who count our lights," said his father.
The wind turned, and the smell of bread came over the water from the other side.
The boy waved a lamp, once to the left and once to the right, and then he waited.
And look, on the far shore a light went once to the left and once to the right.
月亮升起来了，照着安静的海湾，小船停在黑黑的水面上，一动也不动。
男孩坐在码头上，数着对岸的灯火：一盏，两盏，三盏，远处也有人在数我们。
"""
SHAPE = {"n_layer": 2, "n_head": 4, "n_embd": 128, "block_size": 64}
STEPS, EVERY = 1000, 50
VALIDATION = 10_000  # characters, the end of the tales: no run of this page learns from them
COPIED = 32  # characters in a row
LIKELIEST = 24
PROMPT = "Once there was a little"


def tales() -> str:
    return (TASKS.parents[1] / "data" / "tales.txt").read_text(encoding="utf-8")


def run(train: np.ndarray, val: np.ndarray, vocab_size: int, dropout: float = 0.0, **settings):
    """Train; returns the model, and both losses at every EVERY steps."""
    config = TrainConfig(backend="numpy", dropout=dropout, **{"batch_size": 16, "max_steps": STEPS, **settings})
    model = GPT(GPTConfig(vocab_size, dropout=dropout, **SHAPE), Device("numpy"))
    trainer = Trainer(model, config, train, val)
    curve = {"step": [], "train": [], "val": []}
    for step in range(config.max_steps + 1):
        if step % EVERY == 0:
            model.eval()
            curve["step"].append(step)
            curve["train"].append(round(trainer.whole_loss(train[:VALIDATION]), 4))
            curve["val"].append(round(trainer.whole_loss(val), 4))
        if step < config.max_steps:
            trainer.train_step()
    return model, curve


def samples(model, tokenizer, n: int, prompt: str, **controls) -> list[str]:
    steps = Generation(model, tokenizer.encode(prompt), n, num_samples=4, seed=1, **controls)
    return [tokenizer.decode([token.id for token in sample]) for sample in zip(*steps, strict=True)]


def described(train_text: str, val_text: str, prompt: str, **settings) -> dict:
    """One run on characters, and what it writes then."""
    tokenizer = CharTokenizer.train(train_text + val_text + tales() * ("Lulu" in train_text))
    train, val = (np.array(tokenizer.encode(text)) for text in (train_text, val_text))
    model, curve = run(train, val, tokenizer.vocab_size, **settings)
    written = samples(model, tokenizer, 400, prompt, temperature=0.8)
    copied = copied_share([tokenizer.encode(text) for text in written], train, COPIED, tokenizer.vocab_size)
    return {
        "characters": len(train_text),
        "vocabulary": tokenizer.vocab_size,
        "curve": curve,
        "copied": round(copied, 4),
        "validation_copied": round(copied_share([val], train, COPIED, tokenizer.vocab_size), 4),
        "sample": prompt + written[0][:240],
    }


def eight_lines():
    """The article's kind of text: six English lines, then two Chinese ones; the last tenth validates."""
    cut = len(LINES) * 9 // 10
    return described(LINES[:cut], LINES[cut:], "The ") | {"cut": cut}


def sizes():
    """The same model, steps and validation text; more and more tales to learn from."""
    text = tales()
    found = {}
    for size in (4_000, 40_000, len(text) - VALIDATION):
        found[str(size)] = described(text[:size], text[-VALIDATION:], "The tale of")
        print(size, found[str(size)]["curve"]["val"], flush=True)
    return found


def remedies():
    """Dropout on a small text; and a rate at which nothing is learned in so many steps."""
    text = tales()
    return {
        "dropout": described(text[:4_000], text[-VALIDATION:], "The tale of", dropout=0.2),
        "timid": described(text[:-VALIDATION], text[-VALIDATION:], "The tale of", lr=1e-5, min_lr=1e-6),
    }


def early():
    """A model that has learned for 250 steps only: the likeliest characters, and drawn ones."""
    text = tales()
    tokenizer = CharTokenizer.train(text)
    train, val = (np.array(tokenizer.encode(part)) for part in (text[:-VALIDATION], text[-VALIDATION:]))
    model, curve = run(train, val, tokenizer.vocab_size, max_steps=250)
    found = {"val": curve["val"][-1]}
    for t in (0, 1):
        written = samples(model, tokenizer, 400, "The tale of", temperature=t)
        distinct = distinct_n([tokenizer.encode(one) for one in written], 4)
        found[f"temperature {t}"] = {"distinct": round(distinct, 4), "text": "The tale of" + written[0][:160]}
    return found


def controls():
    """The default model on all tales: one distribution, and what it writes at several temperatures and filters."""
    text = tales()
    tokenizer = BPETokenizer.train(text[:-VALIDATION], 512)
    train, val = (np.array(tokenizer.encode(part)) for part in (text[:-VALIDATION], text[-VALIDATION:]))
    model, curve = run(train, val, tokenizer.vocab_size, batch_size=32)
    model.eval()
    logits, _ = model([tokenizer.encode(PROMPT)])
    order = np.argsort(-logits[0, -1])
    known = set(words(text[:-VALIDATION]))
    settings = [{"temperature": t} for t in (0, 0.5, 0.8, 1.0, 1.5, 2.0)]
    settings += [{"temperature": 1.5, "top_k": 5}, {"temperature": 1.5, "top_p": 0.9}]
    rows = []
    for setting in settings:
        written = samples(model, tokenizer, 200, PROMPT, **setting)
        ids = [tokenizer.encode(one) for one in written]
        spelled = [word for one in written for word in words(one)[1:-1]]  # the first and last may be cut
        rows.append(
            setting
            | {
                "distinct": round(distinct_n(ids, 4), 4),
                "copied": round(copied_share(ids, train, 8, tokenizer.vocab_size), 4),
                "known": round(float(np.mean([word in known for word in spelled])), 4),
                "text": PROMPT + written[0][:330],
            }
        )
    return {
        "curve": curve,
        "tokens": [tokenizer.decode([int(i)]) for i in order[:LIKELIEST]],
        "logits": " ".join(f"{logits[0, -1, i]:.3f}" for i in order),  # of all, the likeliest first
        "rows": rows,
        "validation_distinct": round(distinct_n(np.split(val[: len(val) // 200 * 200], len(val) // 200), 4), 4),
        "validation_copied": round(copied_share([val], train, 8, tokenizer.vocab_size), 4),
    }


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)
