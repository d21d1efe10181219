import html
import json

import numpy as np
import pytest

from gpt.diagnose import diagnosis as diagnose
from gpt.errors import UsageError
from gpt.runs.history import History
from tests.support.tiny_runs import make_up, train

RNG = np.random.default_rng(0)
TRAIN, VAL = RNG.integers(0, 50, 4000), RNG.integers(0, 50, 600)


def lines(val, train_loss):
    untrained = {"step": 0, "train_loss": 6.0, "val_loss": 6.0}
    first = {"step": 1, "loss": 6.0, "lr": 3e-6}
    return [untrained, first] + [
        {"step": 100 * i, "loss": b, "lr": 3e-4, "train_loss": b, "val_loss": a}
        for i, (a, b) in enumerate(zip(val, train_loss, strict=True), 1)
    ]


def judged(folder, val, train_loss, samples=(), n_parameters=1000, **flags):
    run = History(make_up(folder, lines(val, train_loss), **flags))
    return diagnose.diagnose(run, n_parameters, 50, TRAIN, VAL, samples)


def test_a_healthy_run_has_no_findings_and_says_so(tmp_path):
    found = judged(tmp_path, [2.5, 2.0, 1.9, 1.85, 1.84], [2.5, 1.9, 1.8, 1.75, 1.74], [VAL[:200], VAL[200:400]])
    assert found.findings == []
    assert "no sign of" in found.report() and "validation loss 1.84" in found.report()


def test_overfitting_hides_advice_to_train_longer(tmp_path):
    found = judged(tmp_path, [4.5, 4.2, 4.4, 4.6, 4.8], [4.5, 3.0, 2.0, 1.5, 1.0], n_parameters=10_000)
    names = [finding.name for finding in found.findings]
    assert names == ["overfitting since step 200", "too little text for the parameters"]
    for finding in found.findings:
        assert finding.signs in found.report() and f"change: {finding.change}" in found.report()


def test_samples_that_copy_the_training_text_parrot(tmp_path):
    copies = [TRAIN[100:300], TRAIN[500:700]]
    found = judged(tmp_path, [2.5, 2.0, 1.9, 1.85, 1.84], [2.5, 1.9, 1.8, 1.75, 1.74], copies)
    (finding,) = found.findings
    assert finding.name == "parroting" and "100%" in finding.signs and "of 8 tokens" in finding.signs


def test_samples_that_repeat_themselves_loop(tmp_path):
    circles = [np.tile([1, 2, 3, 4, 5], 40)]
    found = judged(tmp_path, [2.5, 2.0, 1.9, 1.85, 1.84], [2.5, 1.9, 1.8, 1.75, 1.74], circles)
    (finding,) = found.findings
    assert finding.name == "repetition loops" and "0.03" in finding.signs


def test_a_text_of_set_phrases_is_no_parrot():
    phrases = RNG.integers(0, 50, (6, 20))
    text = np.concatenate([phrases[i] for i in RNG.integers(0, 6, 300)])
    numbers = {}
    verdict = diagnose.judge_samples([text[5000:5200]], text[:5000], text[5000:], 50, numbers)
    assert verdict == [None, None] and "copied 64-grams" in numbers


def test_few_evaluations_are_said_to_be_too_few(tmp_path):
    found = judged(tmp_path, [2.5, 2.0], [2.5, 1.9])
    assert found.findings == [] and "too early to judge" in found.report()


def test_short_samples_are_not_judged():
    assert diagnose.judge_samples([[1, 2, 3]], TRAIN, VAL, 50, {}) == []
    assert diagnose.judge_samples([], TRAIN, VAL, 50, {}) == []


def test_the_command_reads_a_run(tmp_path, capsys):
    run_dir = train(tmp_path)
    assert "diagnosis:" in capsys.readouterr().out, "train.py ends with it"
    assert diagnose.main([str(run_dir), "--max_new_tokens", "20", "--num_samples", "2", "--backend", "numpy"]) == 0
    assert capsys.readouterr().out.startswith("diagnosis:\n")
    assert diagnose.main([str(run_dir), "--max_new_tokens", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"run", "findings", "numbers", "note"} and "validation loss" in found["numbers"]
    for checkpoint in (run_dir / "checkpoints").iterdir():
        checkpoint.rename(tmp_path / checkpoint.name)
    assert diagnose.main([str(run_dir)]) == 0, "the curves can be judged without a checkpoint"
    with pytest.raises(UsageError, match="does not exist"):
        diagnose.main([str(tmp_path / "nothing")])


BOOK = "".join(
    f"{name} {verb} {thing}.\n"
    for name in ("Ann", "Ben", "Cat", "Dan", "Eve", "Flo", "Gil", "Hal")
    for verb in ("sees", "has", "wants", "finds", "likes")
    for thing in ("a fox", "an owl", "the moon", "a boat", "some tea", "one hat")
)
WORDS = ["red", "blue", "old", "fox", "owl", "sees", "has", "boat", "moon", "tea", "hat", "river", "sky", "net", "fish"]
NOISE = " ".join(
    WORDS[i] for i in np.random.default_rng(3).integers(0, len(WORDS), 130)
)  # nothing to learn but by heart
MEMORISED = {"lr": 1e-2, "n_embd": 64, "max_steps": 300, "eval_interval": 30}
SEEN = {"max_steps": 240, "eval_interval": 24, "eval_iters": 8, "log_interval": 4, "batch_size": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "text"),
    [
        ("overfitting since step", MEMORISED, NOISE),
        ("too little text", MEMORISED, NOISE),
        ("parroting", MEMORISED | {"max_steps": 500, "batch_size": 16}, NOISE),
        ("underfitting", {"lr": 1e-3}, BOOK),
        ("underfitting", {"lr": 1e-2, "n_layer": 1, "n_head": 1, "n_embd": 2, "max_steps": 600}, BOOK),
        ("learning rate too high", {"lr": 3.0, "grad_clip": 0}, BOOK),
        ("learning rate too high", {"lr": 0.3}, BOOK),
        ("learning rate too low", {"lr": 1e-5}, BOOK),
        ("repetition loops", {"lr": 1e-3, "sample_tokens": 0}, BOOK),
    ],
)
def test_runs_made_to_show_each_case(tmp_path, capsys, name, flags, text):
    run_dir = train(tmp_path, text, **(SEEN | flags))
    capsys.readouterr()
    greedy = ["--temperature", "0"] if name == "repetition loops" else []
    assert diagnose.main([str(run_dir), "--backend", "numpy", "--seed", "0", *greedy]) == 0
    assert f"- {name}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_learns_its_text_well_raises_no_alarm(tmp_path, capsys):
    run_dir = train(tmp_path, BOOK * 4, **(SEEN | {"lr": 1e-2, "n_embd": 32, "max_steps": 600, "eval_interval": 60}))
    capsys.readouterr()
    assert diagnose.main([str(run_dir), "--backend", "numpy", "--seed", "0"]) == 0
    assert "no sign of" in capsys.readouterr().out


def test_a_notebook_shows_the_findings_in_both_languages(tmp_path):
    found = judged(tmp_path, [4.5, 4.2, 4.4, 4.6, 4.8], [4.5, 3.0, 2.0, 1.5, 1.0], n_parameters=10_000)
    english, chinese = found._repr_html_(), found.html("zh")
    for finding in found.findings:
        assert html.escape(finding.signs) in english and html.escape(finding.chinese.signs) in chinese
    assert "validation loss" in english and "验证损失" in chinese and "validation loss" not in chinese
    healthy = diagnose.Diagnosis([], {"train loss": 1.0}, "")
    assert diagnose.HEALTHY in healthy.html() and diagnose.HEALTHY_IN_CHINESE in healthy.html("zh")
