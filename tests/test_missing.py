"""A package that is not installed: one line says so, and which command gets it."""

import subprocess
import sys

import pytest

from nanograd.missing import missing_package
from tests.support import ROOT
from tests.support.marks import slow

COMMANDS = [
    "train.py",
    "train.py --help",
    "sample.py",
    "-m nanograd.doctor",
    "-m nanograd.gradcheck",
    "-m gpt.gradcheck",
    "-m gpt.pictures",
    "-m gpt.diagnose",
    "-m gpt.evaluate run",
    "-m gpt.page",
    "-m gpt.hub export run folder",
    "-m exercises",
    "-m benchmarks.train_speed",
    "docs/book/build.py --check",
    "notebooks/build.py",
]


@pytest.mark.parametrize("command", [slow(name) if i % 3 else name for i, name in enumerate(COMMANDS)])
def test_without_packages_every_command_ends_in_one_line(command):
    done = subprocess.run(
        [sys.executable, "-S", "-E", *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: the package ") and done.stderr.count("\n") == 1
    assert " is not installed; pip install -e " in done.stderr


def test_other_errors_keep_their_trace():
    program = "import nanograd; nanograd.no_such_thing"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "Traceback" in done.stderr and "no_such_thing" in done.stderr


def test_where_numpy_is_nothing_is_changed():
    program = "import sys, nanograd; assert sys.excepthook is sys.__excepthook__"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_what_is_ours_is_not_to_be_installed():
    assert missing_package(ModuleNotFoundError("No module", name="gpt.nothing")) == ""
    assert missing_package(ImportError("no")) == "" and missing_package(ValueError("no")) == ""
    assert "the package tqdm.auto is not installed" in missing_package(ModuleNotFoundError("", name="tqdm.auto"))
