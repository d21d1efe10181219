"""What the page knows of a run: one table that JSON can say. web/engine.js and the other scripts read it.

name, step, val_loss, n_parameters, dtype      what is in the page
model, tensors, tokenizer, controls, slides  what the engine needs, beside the weights
curves, samples, findings, numbers, note       what the run measured, and the diagnosis
settings, command, text                        how it was made, and a line of its validation text to begin with
bpe                                            for a char run: a BPE tokenizer of the same text, to compare with
"""

import dataclasses
import math
import shlex
import struct
from collections.abc import Sequence

from gpt.config.flags import rule_of
from gpt.config.options import ChoiceFlags, TrainConfig
from gpt.data.prepare import Data
from gpt.diagnose.diagnosis import Diagnosis, number_in_chinese
from gpt.errors import UsageError
from gpt.pictures import first_line
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.history import History
from gpt.runs.samples import read_samples
from gpt.tokenizers import BPETokenizer, Tokenizer
from gpt.tokenizers.bpe_model import N_FIXED, fields

KINDS = "char", "bpe"  # of tokenizers that the page has
MOST_POINTS = 600  # of a curve: more than a screen has pixels for
DIGITS = 5  # of a measured number
ROPE_SLIDES = True  # with RoPE, a full cache drops its oldest keys: as gpt/sampling/kv_cache.py does it
LINE_CHARACTERS = 160  # of validation text
BPE_CHARACTERS = 1 << 18  # that a vocabulary to compare with is learned from: a tenth of a second


def gather(
    run: History, checkpoint: Checkpoint, tokenizer: Tokenizer, data: Data | None, found: Diagnosis | None
) -> dict:
    """The table, but for the weights. `data` and `found` are None where the run's text is not at hand."""
    text = "" if data is None else tokenizer.decode(first_line(data.val, tokenizer))[:LINE_CHARACTERS]
    return {
        "name": run.run_dir.resolve().name,
        "step": checkpoint.step,
        "val_loss": checkpoint.val_loss,
        "n_parameters": sum(value.size for value in checkpoint.model_state.values()),
        "model": checkpoint.state["model"],
        "tokenizer": describe_tokenizer(tokenizer),
        "controls": {f.name: f.default for f in dataclasses.fields(ChoiceFlags)},
        "slides": ROPE_SLIDES,
        "curves": curves(run.lines),
        "samples": read_samples(run.run_dir),
        **diagnosis(found),
        "settings": settings(run.config),
        "command": command(run.config),
        "text": text.rstrip("\ufffd"),
        "bpe": bpe_beside(tokenizer, data),
    }


def describe_tokenizer(tokenizer: Tokenizer) -> dict:
    """The alphabet of a char tokenizer; the pieces of a bpe one behind its bytes, with the scores that order merges."""
    if tokenizer.kind == "char":
        return {"kind": "char", "characters": tokenizer.characters}
    if tokenizer.kind not in KINDS:
        raise UsageError(f"a page has no tokenizer of the kind {tokenizer.kind}: char and bpe are done in a browser")
    pieces = [{n: value for n, _, value in fields(piece)} for n, _, piece in fields(tokenizer.model) if n == 1]
    pieces = pieces[N_FIXED:]
    return {
        "kind": "bpe",
        "pieces": [piece[1].decode("utf-8") for piece in pieces],
        "scores": [plain(struct.unpack("<f", piece[2])[0]) for piece in pieces],
    }


def bpe_beside(tokenizer: Tokenizer, data: Data | None) -> dict | None:
    """For a char tokenizer, a bpe one learned from the beginning of the same text."""
    if tokenizer.kind != "char" or data is None:
        return None
    return describe_tokenizer(BPETokenizer.train(next(data.corpus.chunks(BPE_CHARACTERS))))


def curves(lines: Sequence[dict]) -> dict:
    """Columns of metrics.jsonl: of the logged steps, thinned to MOST_POINTS, and of all evaluations."""
    logged = [line for line in lines if "grad_norm" in line]
    logged = thinned(logged, MOST_POINTS)
    layers = list(dict.fromkeys(name for line in logged for name in line.get("grad_norms", {})))
    evaluated = thinned([line for line in lines if "val_loss" in line], MOST_POINTS)
    return {
        "logged": {name: [plain(line.get(name)) for line in logged] for name in ("step", "loss", "lr", "grad_norm")},
        "layers": {name: [plain(line.get("grad_norms", {}).get(name)) for line in logged] for name in layers},
        "evaluated": {
            name: [plain(line.get(name)) for line in evaluated] for name in ("step", "train_loss", "val_loss")
        },
    }


def thinned(items: Sequence, most: int) -> list:
    """At most `most` of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def plain(value):
    """A number as JSON writes it shortly; None for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def diagnosis(found: Diagnosis | None) -> dict:
    if found is None:
        return {"findings": None}
    return {
        "findings": [dataclasses.asdict(finding) for finding in found.findings],
        "numbers": {
            "values": [plain(value) for value in found.numbers.values()],
            "english": list(found.numbers),
            "chinese": [number_in_chinese(name) for name in found.numbers],
        },
        "note": {"english": found.note, "chinese": found.note_in_chinese},
    }


def settings(config: TrainConfig) -> list[dict]:
    """Every flag that belongs to the run: its name, value, meaning, and whether it is the default."""
    saved = [f for f in dataclasses.fields(config) if rule_of(f).saved]
    return [
        {
            "name": f.name,
            "value": shown(getattr(config, f.name)) or rule_of(f).default_text or "none",
            "help": rule_of(f).help,
            "changed": getattr(config, f.name) != f.default,
        }
        for f in saved
    ]


def shown(value) -> str:
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else str(value).lower() if value in (True, False) else str(value)


def command(config: TrainConfig) -> str:
    """The command that makes this run again: train.py with the flags that are not at their defaults."""
    words = ["python", "train.py"]
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if not rule_of(f).saved or value == f.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{f.name}" if value else f"--no_{f.name}")
        elif isinstance(value, tuple):
            words += [f"--{f.name}", *map(shlex.quote, value)]
        else:
            words += [f"--{f.name}", shlex.quote(str(value))]
    return " ".join(words)
