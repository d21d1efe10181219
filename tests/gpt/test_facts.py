"""`python -m gpt.gradcheck --facts RUN_DIR`: on a run's own weights and text, and what it says of a wrong one."""

import json

import numpy as np
import pytest

from gpt.gradcheck import command
from nanograd import Device
from nanograd.layers import Linear
from tests.gradcheck.test_facts import LLAMA, facts, model_of
from tests.support.marks import long, slow
from tests.support.tiny_runs import TALE, train


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return train(tmp_path, TALE * 30)


def test_a_run_of_ours(run, capsys):
    assert command(["--facts", str(run)]) == 0
    out = capsys.readouterr().out
    assert "facts hold" in out and "float32" in out and "nothing flows to later inputs" in out
    assert command(["--facts", str(run), "--json", "--dtype", "float64"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and "float64" in told["run"] and all(row["ratio"] <= 1 for row in told["facts"])


def test_a_wrong_layer_is_named_and_the_exit_code_is_1(run, capsys, monkeypatch):
    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda self, dy, **options: right(self, dy, **options) * np.float32(1.001))
    assert command(["--facts", str(run)]) == 1
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("x . dx = y . dy") and line.endswith("WRONG")]
    assert "facts are WRONG" in out


def test_mistakes(run, capsys, tmp_path):
    from gpt.errors import UsageError

    with pytest.raises(UsageError, match="one of the two"):
        command(["--facts", str(run), "--config", str(run / "config.toml")])
    (tmp_path / "text.txt").unlink()
    with pytest.raises(UsageError, match="--data"):
        command(["--facts", str(run)])


@pytest.mark.parametrize("precision", ["bfloat16", slow("float32"), *map(long, ["float64", "tf32"])])
@pytest.mark.parametrize("settings", [{}, LLAMA | {"tie_weights": True}])
def test_on_a_gpu(gpu_xp, settings, precision):
    found = facts(model_of(settings, Device(gpu_xp, precision)))
    assert all(fact.ok for fact in found), [fact for fact in found if not fact.ok]
