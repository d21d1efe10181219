"""`python -m gpt.page` and what train.py does of it: a page, or one line and no page."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from gpt.cli.command_line import run
from gpt.config.options import TrainConfig
from gpt.config.toml import read_run_config
from gpt.page import command, weights
from gpt.runs.samples import read_samples
from gpt.training import run as training
from tests.support.tiny_runs import TALE, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("page"), sample_tokens=30)


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def contents(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="contents">(.*?)</script>', page)[1]), page


def fails(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command.main, [str(word) for word in arguments])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: "), err
    return stop.value.code, err


def test_training_writes_the_page_and_mentions_it(tmp_path, capsys):
    run_dir = train(tmp_path, sample_tokens=30)
    assert f"{run_dir / 'page.html'} has this model running in it" in capsys.readouterr().out
    told, page = contents(run_dir / "page.html")
    assert told["name"] == "run" and told["dtype"] == "float16" and told["findings"] is not None
    assert [sample["step"] for sample in told["samples"]] == [0, 2, 4, 6, 8]
    assert told["bpe"]["kind"] == "bpe" and told["text"] in TALE * 8
    assert page.count("<script") == 3


def test_the_command_writes_the_same_page_again(run_dir, capsys):
    first, _ = contents(run_dir / "page.html")
    (run_dir / "page.html").unlink()
    assert command.main([str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "page.html")
    again, _ = contents(run_dir / "page.html")
    for table in (first, again):  # samples of another length are judged
        table.pop("findings"), table.pop("numbers"), table.pop("note")
    assert again == first


def test_full_weights_and_another_checkpoint(run_dir):
    command.main([str(run_dir), "--full", "--checkpoint", "latest"])
    told, page = contents(run_dir / "page.html")
    assert told["dtype"] == "float32" and told["step"] == 8
    size = sum(int(np.prod(tensor["shape"])) for tensor in told["tensors"])
    assert size == told["n_parameters"]
    assert len(page) <= 4 * size * 4 / 3 + 250_000


def test_a_run_whose_text_is_gone_has_a_page_without_a_diagnosis(run_dir, capsys):
    config = (run_dir / "config.toml").read_text(encoding="utf-8")
    (run_dir / "config.toml").write_text(re.sub(r"data = .*", 'data = ["/nowhere.txt"]', config), encoding="utf-8")
    assert command.main([str(run_dir)]) == 0
    assert "nowhere.txt" in capsys.readouterr().err
    told, _ = contents(run_dir / "page.html")
    assert told["findings"] is None and told["text"] == "" and told["bpe"] is None


def test_names_that_are_not_safe_stand_in_the_page_as_text(run_dir, tmp_path):
    odd = tmp_path / "<script>alert(1)<script><img>\u202e\u2028'\"&"
    run_dir.rename(odd)
    assert command.main([str(odd)]) == 0
    told, page = contents(odd / "page.html")
    assert told["name"] == odd.name and page.count("<script") == 3 and "<img" not in page


def test_a_model_that_is_too_large_asks_for_max_mb(run_dir, monkeypatch, capsys):
    before = (run_dir / "page.html").read_bytes()
    monkeypatch.setattr(command, "page_megabytes", lambda n, dtype: 100.4)
    code, err = fails([run_dir], capsys)
    assert code == 2 and "--max_mb 101" in err
    assert (run_dir / "page.html").read_bytes() == before
    assert command.main([str(run_dir), "--max_mb", "101"]) == 0


def test_a_run_without_a_checkpoint(run_dir, capsys):
    (run_dir / "page.html").unlink()
    shutil.rmtree(run_dir / "checkpoints")
    code, err = fails([run_dir], capsys)
    assert code == 1 and "no checkpoints" in err and not (run_dir / "page.html").exists()


@pytest.mark.parametrize(
    "name", ["config.toml", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "checkpoints/*/model.safetensors"]
)
def test_a_damaged_run_leaves_no_page(run_dir, name, capsys):
    (run_dir / "page.html").unlink()
    for path in run_dir.glob(name):
        path.write_bytes(b"\xff{" + path.read_bytes()[:-3] + b"\n{}\n")
    code, err = fails([run_dir], capsys)
    assert code in (1, 2) and name.rpartition("/")[2] in err
    assert not [path for path in run_dir.iterdir() if path.name.startswith(("page", ".tmp"))]


def test_weights_that_float16_cannot_hold_ask_for_full(run_dir, monkeypatch, capsys):
    (run_dir / "page.html").unlink()
    monkeypatch.setattr(weights, "LARGEST_HALF", 1e-3)
    code, err = fails([run_dir], capsys)
    assert code == 1 and "--full" in err and not (run_dir / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "part"), [("nowhere", "does not exist"), ("--max_mb 0", "at least 1"), ("--ful", "--full")]
)
def test_bad_flags(words, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, err = fails(words.split(), capsys)
    assert code == 2 and part in err


@pytest.mark.slow
def test_samples_go_on_where_a_resumed_run_does(run_dir):
    before = read_samples(run_dir)
    config = read_run_config(TrainConfig, run_dir / "config.toml")
    config = dataclasses.replace(config, out_dir=str(run_dir), resume=True, max_steps=12)
    assert training.main(config) == 0
    after = read_samples(run_dir)
    assert after[:5] == before and [line["step"] for line in after] == [0, 2, 4, 6, 8, 10, 12]
    assert all(len(line["texts"]) == 3 for line in after)


@pytest.mark.slow
def test_a_run_that_shows_no_samples_keeps_none(tmp_path):
    run_dir = train(tmp_path, sample_tokens=0)
    assert read_samples(run_dir) == []
