"""The commands `python -m nanograd.gradcheck` and `python -m gpt.gradcheck`, in pieces and as a user runs them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from gpt import gradcheck
from gpt.errors import UsageError
from gpt.gradcheck import GPTS, command, run_model, run_rows
from gpt.model import GPT
from nanograd.gradcheck import __main__ as layers_command
from nanograd.gradcheck import table
from nanograd.gradcheck.table import largest_error, layer_rows, line_of, torch_reference
from nanograd.layers.linear import Linear
from tests.support import ROOT
from tests.support.small_run import write_run


def run_command(*arguments, module="gpt.gradcheck"):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.mark.slow
def test_the_whole_table_as_a_user_runs_it():
    done = run_command()
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("LayerNorm", "CausalSelfAttention, dropout", "CrossEntropy", *GPTS):
        assert name in done.stdout
    assert "all within their bounds" in done.stdout and "WRONG" not in done.stdout
    assert not done.stderr


@pytest.fixture
def few(monkeypatch):
    """A table of two layers and one GPT."""
    cases = table.layer_cases
    monkeypatch.setattr(table, "layer_cases", lambda rng: [c for c in cases(rng) if c[0] in ("Linear", "ReLU")])
    monkeypatch.setattr(gradcheck, "block_rows", lambda seed, reference: ())
    monkeypatch.setattr(gradcheck, "GPTS", {"GPT: T = 1": GPTS["GPT: T = 1"]})


@pytest.mark.slow
def test_exit_code_0_and_json(few, capsys):
    assert command(["--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] and [row["what"] for row in result["rows"]] == ["Linear"] * 2 + ["ReLU"] * 2 + ["GPT: T = 1"]
    for row in result["rows"]:
        assert row["ok"] and row["compared"] > 500 and row["full"]
        assert row["bound"] == {"complex step": 1e-12, "differences": 1e-9}[row["method"]]
        assert 0 <= row["error"] <= row["bound"]
    if result["torch"] == "compared":
        assert result["rows"][0]["torch"] < 1e-14


@pytest.mark.slow
def test_exit_code_1_when_a_gradient_is_wrong(few, capsys, monkeypatch):
    right = Linear.backward

    def wrong(self, dy, **options):
        dx = right(self, dy, **options)
        if self.bias is not None:
            self.bias.grad *= 1 + 1e-6
        return dx

    monkeypatch.setattr(Linear, "backward", wrong)
    assert command([]) == 1
    printed = capsys.readouterr().out
    linear = [line for line in printed.splitlines() if line.startswith("Linear")]
    assert all(line.endswith("WRONG") and "bias" in line for line in linear)
    assert "3 of 5 WRONG" in printed
    assert command(["--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_exit_code_1_when_pytorch_disagrees(few, capsys, monkeypatch):
    monkeypatch.setattr(table, "layer_against_torch", lambda *_: 1e-9)
    monkeypatch.setattr(gradcheck, "torch_reference", lambda: (object(), None))
    monkeypatch.setattr(gradcheck, "model_against_torch", lambda *_, **__: 0.0)
    assert command([]) == 1
    assert "2 of 5 WRONG" in capsys.readouterr().out


def test_a_broken_rule_is_shown(few):
    (row, *_) = layer_rows(0, None)
    assert row.ok and row.torch is None
    row.problems.append("breaks the rule x: y")
    assert not row.ok
    assert line_of(row).endswith("WRONG\n  breaks the rule x: y")


def test_without_pytorch_the_table_says_so(few, capsys, monkeypatch):
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    assert torch_reference() == (None, "it is not installed (pip install torch)")
    assert command([]) == 0
    assert "not compared with PyTorch: it is not installed" in capsys.readouterr().out


def test_missing_gradient_is_an_infinite_error():
    assert largest_error({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)}) == np.inf
    assert largest_error({"a": np.array([1.0, 2.0])}, {"a": np.array([1.0, 4.0])}) == 0.5


@pytest.mark.parametrize("shape", [{}, {"dropout": 0.3, "tie_weights": True, "activation": "gelu"}])
@pytest.mark.slow
def test_model_of_a_run(tmp_path, shape):
    folder = write_run(tmp_path / "tales", n_head=2, **shape)
    reference, _ = torch_reference()
    rows = list(run_rows(*run_model(folder / "config.toml"), 0, reference))
    assert rows[0].what == "tales, step 20: all parameters"
    assert all(row.ok for row in rows), rows
    assert rows[0].compared > 200
    assert (rows[0].torch is None) == (reference is None)


def test_wrong_model_of_a_run(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "tales", n_head=2)
    right = GPT.backward

    def wrong(self):
        right(self)
        self.ln_f.weight.grad *= 1.001

    monkeypatch.setattr(GPT, "backward", wrong)
    rows = list(run_rows(*run_model(folder / "config.toml"), 0, None))
    assert not rows[0].ok and rows[0].worst.startswith("ln_f.weight")
    assert [row.what for row in rows[1:] if not row.ok] == ["  ln_f.weight"]


def test_configuration_without_a_run(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("n_layer = 1\nn_head = 2\nn_embd = 8\nblock_size = 8\nvocab_size = 300\n", encoding="utf-8")
    (row, *_) = run_rows(*run_model(path), 0, None)
    assert row.ok and row.what == "small.toml, not trained: all parameters"
    path.write_text("n_layer = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="vocab_size"):
        run_model(path)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--config", "no-such.toml"], 2, "no-such.toml: there is no such file"),
        (["--confg", "x"], 2, "--config"),
        (["--seed", "-1"], 2, "seed"),
    ],
)
def test_mistakes_end_with_one_line(arguments, code, message):
    done = run_command(*arguments)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr


def test_the_command_of_the_layers(few, capsys):
    assert layers_command.command(["--json", "--seed=3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] and [row["what"] for row in result["rows"]] == ["Linear"] * 2 + ["ReLU"] * 2
    assert layers_command.command([]) == 0
    assert "all within their bounds" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config", "x.toml"], "the model of a run is checked by python -m gpt.gradcheck --config x.toml"),
        (["--confg"], "unrecognized arguments: --confg"),
        (["--seed", "-1"], "argument --seed: invalid seed value: '-1'"),
    ],
)
def test_mistakes_in_the_command_of_the_layers(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        layers_command.command(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {message} (--help lists what there is)\n"


def test_the_layers_are_checked_without_gpt():
    code = "import sys, nanograd.gradcheck.__main__; print('gpt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.stdout == "False\n", done.stderr
