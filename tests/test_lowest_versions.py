"""The lowest versions that setup.cfg names work: a fresh environment with just these trains and samples.

Minutes, and it needs a package index: for `python -m pytest -m long tests/test_lowest_versions.py`, once a release.
"""

import configparser
import os
import re
import subprocess
import venv

import pytest

from tests.support import ROOT
from tests.support.tiny_runs import QUICK, TALE


def requirements() -> list[str]:
    """What setup.cfg demands, each at its lowest version: numpy==2.1."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return [line.replace(">=", "==") for line in config["options"]["install_requires"].split()]


def test_every_requirement_names_its_lowest_version():
    assert requirements() and all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in requirements())


def test_tyro_is_not_the_empty_wheel():
    assert "tyro==0.9" not in requirements() and "tyro==0.9.0" not in requirements()


def test_nothing_is_imported_that_is_not_required():
    """What gpt and nanograd import and is no extra is among the requirements, and all requirements are used."""
    used = set()
    for folder in "gpt", "nanograd", "tokenizers":
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.partition("==")[0].replace("-", "_") for line in requirements()}
    assert named <= used, named - used


@pytest.mark.long
@pytest.mark.slow
def test_the_lowest_versions_train_and_sample(tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python")

    def run(*words):
        environment = os.environ | {"NANOGRAD_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [python, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", *requirements())
    (tmp_path / "text.txt").write_text(TALE * 20, encoding="utf-8")
    flags = [f"--{name}={value}" for name, value in (QUICK | {"data": "text.txt", "out_dir": "run"}).items()]
    assert "diagnosis:" in run(str(ROOT / "train.py"), *flags)
    assert (tmp_path / "run" / "loss.png").is_file()
    assert run(str(ROOT / "sample.py"), "--out_dir=run", "--prompt=Once", "--max_new_tokens=5").startswith("Once")
    for command in "gpt.pictures", "gpt.evaluate":
        run("-m", command, "run")
    assert "--n_layer" in run(str(ROOT / "train.py"), "--help")
