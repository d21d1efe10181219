"""The package as others get it: built, installed into fresh environments, used in any folder, taken away again.

Each environment is made by pip from its index; where none can be reached, the tests that need one are skipped.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

USE = """
import json, sys
import gpt, nanograd, nanograd.layers
from gpt import GPT, GPTConfig, generate
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.gradcheck import check_layer
import numpy as np

assert gpt.__version__ == nanograd.__version__
assert "site-packages" in gpt.__file__ and "site-packages" in nanograd.__file__
device = Device("numpy", dtype="float64")
report = check_layer(nanograd.layers.Linear(3, 2, device=device), np.random.default_rng(0).standard_normal((4, 3)))
assert report.ok, report
model = GPT(GPTConfig(vocab_size=7, block_size=8, n_layer=1, n_head=2, n_embd=8), device)
assert len(list(generate(model, [1, 2], max_new_tokens=3, seed=0))) == 3
from gpt.tokenizers import CharTokenizer
assert CharTokenizer.train("abc").decode([0, 1]) == "ab"
assert not any(name == "tokenizers" for name in sys.modules), "ours is called gpt.tokenizers"
"""
THEIRS = """
import tokenizers
from transformers import AutoTokenizer
from tokenizers import Tokenizer, models
assert tokenizers.__file__.split("/")[-3] == "site-packages" and hasattr(tokenizers, "AddedToken")
import gpt.tokenizers
assert gpt.tokenizers is not tokenizers and hasattr(gpt.tokenizers, "StreamDecoder")
"""
IN_A_CHECKOUT = """
from transformers import AutoTokenizer
import tokenizers, gpt.tokenizers
assert tokenizers.__file__.split("/")[-3] == "site-packages" and tokenizers is not gpt.tokenizers
assert gpt.tokenizers.CharTokenizer.train("abc").encode("cab") == [2, 0, 1]
"""


def run(*command, cwd, env=os.environ):
    env = {name: value for name, value in env.items() if name != "PYTHONPATH"}  # which may name this checkout
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the sdist of this checkout. What git does not know is left out."""
    pytest.importorskip("build")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    done = subprocess.run([sys.executable, "-m", "build", "--outdir", out, source], capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_what_is_in_the_wheel(built):
    names = names_in(next(built.glob("*.whl")))
    assert {name.partition("/")[0] for name in names} == {"gpt", "nanograd", f"{wheel_stem(built)}.dist-info"}
    for folder, inside in (("gpt", "gpt"), ("nanograd", "nanograd"), ("tokenizers", "gpt/tokenizers")):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert {f"gpt/shipped/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()} <= names
    assert {"gpt/shipped/data/tales.txt", "gpt/shipped/data/tales-zh.txt", "nanograd/kernels/common.cuh"} <= names


def wheel_stem(built) -> str:
    return "-".join(next(built.glob("*.whl")).name.split("-")[:2])


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    # `python -m build` has made the wheel from the sdist already; here it is made from an unpacked sdist, as by hand.
    shutil.unpack_archive(next(built.glob("*.tar.gz")), tmp_path)
    (folder,) = tmp_path.iterdir()
    for name in ("train.py", "sample.py", "tokenizers/bpe.py", "data/tales.txt", "tests/test_wheel.py"):
        assert (folder / name).is_file(), name
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "again", folder, cwd=tmp_path)
    assert names_in(next((tmp_path / "again").glob("*.whl"))) == names_in(next(built.glob("*.whl")))


def python_of(minor: int) -> str:
    """The name of this machine's Python 3.`minor`; skips the test where it has none."""
    if minor == sys.version_info.minor:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/3.{minor}.*/bin/python")
    for path in filter(None, [shutil.which(f"python3.{minor}"), *map(str, sorted(pyenv))]):
        code = "import sys, venv; print(sys.version_info[1])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(minor):
            return path
    pytest.skip(f"there is no Python 3.{minor}")


class Environment:
    """A fresh one. The pip of this Python installs there, and compiles no file ahead of its first import."""

    def __init__(self, python: str, folder: Path):
        run(python, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.python = folder / "bin" / "python"
        self.folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        shutil.rmtree(self.folder)  # hundreds of megabytes, which pytest would keep for three runs

    def install(self, *what) -> None:
        self._pip("install", "--no-compile", *what)

    def uninstall(self, *what) -> None:
        self._pip("uninstall", "-y", *what)

    def _pip(self, *arguments) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python, "-q"]
        run(*pip, *arguments, cwd=self.folder)

    def files(self) -> set[str]:
        (packages,) = self.folder.glob("lib/*/site-packages")
        ignored = "__pycache__"
        return {path.relative_to(packages).as_posix() for path in packages.rglob("*") if ignored not in path.parts}


no_windows = pytest.mark.skipif(sys.platform == "win32", reason="an environment's programs are elsewhere there")


@no_windows
@pytest.mark.parametrize("minor", [minor for minor in (11, 12, 13) if minor != sys.version_info.minor])
def test_a_fresh_environment(built, tmp_path, minor):
    with Environment(python_of(minor), tmp_path / "environment") as environment:
        before = environment.files()
        environment.install(next(built.glob("*.whl")))
        work(environment, tmp_path)
        leave(environment, before)


@no_windows
def test_a_fresh_environment_beside_hugging_face(built, tmp_path):
    """Whose packages come first, and then, in the same environment, last."""
    wheel = next(built.glob("*.whl"))
    with Environment(sys.executable, tmp_path / "environment") as environment:
        environment.install("transformers")
        before = environment.files()
        environment.install(wheel)
        beside_theirs(environment, tmp_path)
        work(environment, tmp_path)
        run(environment.python, "-c", IN_A_CHECKOUT, cwd=ROOT)
        leave(environment, before)
        beside_theirs(environment, tmp_path, ours=False)

        environment.uninstall("transformers", "tokenizers")
        before = environment.files()
        assert not {name for name in before if name.startswith(("transformers", "tokenizers"))}
        environment.install(wheel)
        environment.install("transformers")
        beside_theirs(environment, tmp_path)
        work(environment, tmp_path)
        leave(environment, before)
        beside_theirs(environment, tmp_path, ours=False)


def elsewhere(folder: Path) -> Path:
    """A folder that is no checkout."""
    (folder / "elsewhere").mkdir(exist_ok=True)
    return folder / "elsewhere"


def beside_theirs(environment, folder, ours=True):
    code = "import tokenizers; assert hasattr(tokenizers, 'AddedToken')"
    run(environment.python, "-c", THEIRS if ours else code, cwd=elsewhere(folder))


def work(environment, folder):
    """The library and the two commands, in a folder that is no checkout and in this one."""
    here, scripts = elsewhere(folder), environment.folder / "bin"
    run(environment.python, "-W", "error", "-c", USE, cwd=here)
    sizes = ["--n_layer", "1", "--block_size", "32", "--batch_size", "4", "--max_steps", "4", "--eval_iters", "1"]
    options = [*sizes, "--backend", "numpy", "--threads", "1", "--sample_tokens", "20", "--overwrite"]
    env = {"NANOGRAD_CACHE": str(folder / "cache"), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    env["MPLCONFIGDIR"] = os.environ["MPLCONFIGDIR"]
    said = run(scripts / "nanograd-train", *options, cwd=here, env=env)
    assert "tales: 400,514 bytes" in said and "nanograd-sample --out_dir out/tales" in said
    run(scripts / "nanograd-sample", "--max_new_tokens", "5", cwd=here, env=env)
    zh = ["--data", "tales-zh", "--tokenizer", "char", *options]
    assert "char vocabulary" in run(scripts / "nanograd-train", *zh, cwd=here, env=env)
    # In a checkout the folder tokenizers/ is ours, whatever is installed, unless a package asks for it.
    code = "import tokenizers, gpt.tokenizers; print(tokenizers is gpt.tokenizers, tokenizers.__file__)"
    assert run(environment.python, "-c", code, cwd=ROOT, env=env).startswith("True")
    run(environment.python, ROOT / "train.py", *options, "--out_dir", folder / "run", cwd=here, env=env)


def leave(environment, before):
    """Uninstalling takes every file of ours and none of the others'."""
    after = environment.files()
    environment.uninstall("nanograd")
    left = environment.files()
    assert not {name for name in left if name.startswith(("gpt", "nanograd"))}
    assert before <= left and left <= after
