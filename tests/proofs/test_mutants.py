import subprocess
import sys

import pytest

from tests.proofs import mutants


@pytest.mark.slow
def test_every_mutant_is_killed():
    done = subprocess.run(
        [sys.executable, "-m", "tests.proofs.mutants"], cwd=mutants.ROOT, capture_output=True, text=True, timeout=900
    )
    alive = [line for line in done.stdout.splitlines() if not line.startswith(("killed", "passed"))]
    assert done.returncode == 0, "\n".join(alive) + done.stderr


def test_there_are_enough_and_every_one_applies():
    chosen = mutants.read_mutants()
    assert len(chosen) >= 50
    assert len({(mutant.file, mutant.mistake) for mutant in chosen}) == len(chosen)
    stale = [f"{mutant.file}: {mutant.mistake}" for mutant in chosen if mutants.changed(mutant) is None]
    assert not stale, "the source has moved on; data/mutants.toml must follow"


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_mutant_that_does_not_apply_is_stale(old):
    mutant = mutants.Mutant("a mistake", "nanograd/layers/linear.py", old, "x")
    assert mutants.judge(mutant).outcome == "stale"


def run_only(mutant, monkeypatch, capsys):
    monkeypatch.setattr(mutants, "read_mutants", lambda: [mutant])
    monkeypatch.setattr(mutants, "warm_up", lambda: None)
    monkeypatch.setattr(mutants, "verdict", lambda module, source, tests: ("survived", ""))
    return mutants.main([]), capsys.readouterr().out


def test_a_survivor_fails_the_command(monkeypatch, capsys):
    code, printed = run_only(
        mutants.Mutant("m", "nanograd/layers/linear.py", "return dx", "return  dx"), monkeypatch, capsys
    )
    assert code == 1 and "survived" in printed and "0 of 1 mutants killed" in printed


def test_a_stale_one_fails_the_command(monkeypatch, capsys):
    code, printed = run_only(mutants.Mutant("m", "nanograd/layers/linear.py", "no such text", ""), monkeypatch, capsys)
    assert code == 1 and "stale" in printed


def test_choosing_nothing_is_a_mistake(capsys):
    assert mutants.main(["--only", "no such mutant"]) == 2
    assert "no mutant has" in capsys.readouterr().err
