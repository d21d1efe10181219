"""Without PyTorch a benchmark that compares with it ends in one line; one that can do without says what is left out."""

import runpy
import sys

import pytest

from benchmarks import machine

COMPARING = {
    "startup": [],
    "time_to_loss": [],
    "train_speed": ["--shapes", "article", "--kinds", "nanograd", "torch eager"],
    "contenders.fine_tuning": ["alice.txt"],
}


@pytest.fixture
def no_torch(monkeypatch):
    found = machine.version

    def version(package):
        if package == "torch":
            raise machine.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(machine, "version", version)


@pytest.mark.parametrize("name", COMPARING)
def test_one_line_and_exit_code_1(no_torch, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [name, *COMPARING[name]])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and line.startswith("error: PyTorch is not installed")


def test_what_can_do_without_says_what_it_leaves_out(no_torch, capsys):
    assert machine.with_torch_or_without(["nanograd", "torch eager", "matmuls"]) == ["nanograd", "matmuls"]
    assert capsys.readouterr().err == ("PyTorch is not installed: its contenders are left out (pip install torch)\n")


@pytest.mark.parametrize("name", [*COMPARING, "decoding", "operations", "page", "sample_speed", "scaling", "ablations"])
def test_a_wrong_flag_is_a_line_and_exit_code_2(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [name, "--rounds=0", "--steps=0", "--threads=none"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 2 and "error: argument --" in capsys.readouterr().err


def test_with_it_nothing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(machine, "version", lambda package: "2.13.0")
    assert machine.with_torch_or_without(["nanograd", "torch eager"]) == ["nanograd", "torch eager"]
    assert machine.need_torch() is None and capsys.readouterr().err == ""
