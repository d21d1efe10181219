"""`gpt.train`: the loop of train.py, called from Python."""

import json
from pathlib import Path

import numpy as np
import pytest

import gpt
from gpt.errors import UsageError
from gpt.runs.checkpoint import list_steps
from tests.support.tiny_training import TINY, at_step, send, timeless
from tests.support.tiny_training import train as train_command

CALL = {"data": "text.txt", "out_dir": Path("called"), **TINY}


def test_a_call_makes_the_run_that_the_command_makes(workplace):
    assert train_command() == 0
    run = gpt.train(**CALL)
    assert timeless("called") == timeless("run") and list_steps("called") == list_steps("run")
    assert {path.name for path in Path("called").iterdir()} == {path.name for path in Path("run").iterdir()}
    assert run.folder == Path("called") and run.step == 12 and run.diagnosis.numbers["train loss"] > 0
    model, tokenizer = gpt.load("called")
    assert tokenizer.fingerprint == run.tokenizer.fingerprint and run.sample == ""
    ids = np.array([run.tokenizer.encode("the cat")])
    assert run.model(ids)[0].shape == model(ids)[0].shape and not run.model.training


def test_the_callback_gets_each_line_of_the_metrics(workplace):
    lines = []
    gpt.train(lines.append, **CALL | {"log_interval": 1})
    logged = [json.loads(line) for line in Path("called/metrics.jsonl").read_text().splitlines()]
    assert lines == logged and [line["step"] for line in lines] == list(range(13))
    assert "val_loss" in lines[5] and "val_loss" not in lines[6]


@pytest.mark.parametrize(("answer", "last"), [(True, 3), (1, 12), (None, 12)])
def test_only_true_ends_the_run_which_is_saved_and_judged(workplace, answer, last):
    flags = CALL | {"log_interval": 1}
    run = gpt.train(lambda line: answer if line["step"] == 3 else None, **flags)
    assert run.step == last and list_steps("called")[-1] == last and run.diagnosis is not None
    whole = gpt.train(resume=True, **flags)
    assert whole.step == 12
    assert train_command(log_interval=1) == 0
    assert timeless("called") == timeless("run"), "it went on as if it had never stopped"


def test_what_the_callback_raises_comes_through_and_the_run_can_go_on(workplace):
    def fail(line):
        if line["step"] == 7:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        gpt.train(fail, **CALL | {"log_interval": 1})
    assert list_steps("called") == [5]
    assert gpt.train(**CALL | {"log_interval": 1, "resume": True}).step == 12


def test_an_interrupt_gives_back_what_there_is(workplace, monkeypatch, capfd):
    at_step(monkeypatch, 3, send())
    run = gpt.train(**CALL)
    assert run.step <= 3 and list_steps("called") == [3] and run.diagnosis is None
    assert "finishing this step and saving" in capfd.readouterr().err
    assert "<svg" in run._repr_html_()


def test_a_flag_is_named_as_a_keyword(workplace):
    for flags, kind, said in (
        ({"max_step": 3}, TypeError, "train has no parameter max_step: did you mean max_steps?"),
        ({"list_recipes": True}, TypeError, "train has no parameter list_recipes"),
        ({"max_steps": 0}, UsageError, "max_steps must be at least 1, not 0"),
        ({"warmup_steps": 99}, UsageError, "warmup_steps must be at most max_steps (12), not 99"),
        ({"data": "no such text"}, UsageError, "data no such text: no such file, folder or name"),
    ):
        with pytest.raises(kind) as caught:
            gpt.train(**CALL | flags)
        assert str(caught.value).startswith(said)
    assert not Path("called").exists()


def test_a_notebook_shows_curve_table_diagnosis_and_sample(workplace):
    run = gpt.train(**CALL | {"sample_tokens": 8})
    object.__setattr__(run, "sample", "<b>bold</b>")
    english, chinese = run._repr_html_(), run.html("zh")
    for part in "<svg", "validation loss", "tokens a parameter", "&lt;b&gt;bold&lt;/b&gt;":
        assert part in english
    for part in "<svg", "验证损失", "每个参数的训练词元数", "样本":
        assert part in chinese
    assert "<b>bold" not in english and repr(run).startswith("Trained('called', 12 steps, best validation loss")
