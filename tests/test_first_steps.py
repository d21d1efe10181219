"""The three programs for a reader who has never seen a derivative in code: short, plain NumPy, and right."""

import ast
import re
import subprocess
import sys

import pytest

from exercises.catalog import exercise
from tests.support import ROOT

SAYS = {
    "count_pairs": ["loss 0.7897", "log 14 = 2.6391"],
    "linear_layer": ["dW by hand", "after step 40: loss 0.000000"],
    "small_mlp": ["step 500: loss 0.000000", "[0. 1.] -> 1.000", "[1. 1.] -> 0.000"],
}
FILES = sorted((ROOT / "first_steps").glob("*.py"))


def test_there_are_three():
    assert {path.stem for path in FILES} == set(SAYS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_first_step(path, tmp_path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 100
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert names <= {"numpy", "itertools"}
    done = subprocess.run(
        [sys.executable, "-W", "error", path], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stderr
    for line in SAYS[path.stem]:
        assert line in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("largest difference"):
            assert float(line.split()[-1]) < 1e-8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_without_numpy_one_line_says_what_to_do(path):
    done = subprocess.run([sys.executable, "-S", "-I", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == "error: NumPy is not installed; python -m pip install numpy gets it\n"


@pytest.mark.parametrize("name, lang", [("README.md", "en"), ("README.zh-CN.md", "zh")])
def test_the_first_backward_of_ones_own_comes_early(name, lang):
    """What is read until then, at 120 words a minute: 12 minutes at the most, which leaves three for the commands."""
    page = (ROOT / name).read_text(encoding="utf-8")
    commands = re.findall(r"^python (\S+(?: \S+){0,3})", page[page.index("first_steps") - 100 :], re.M)
    early = commands[: commands.index("-m exercises check linear_dx")]
    assert [c.split()[0] for c in early] == ["first_steps/count_pairs.py", "first_steps/linear_layer.py", "-m"]
    section = page[page.rindex("\n## ", 0, page.index("first_steps")) : page.index("python first_steps/small_mlp.py")]
    programs = [(ROOT / c.split()[0]).read_text(encoding="utf-8") for c in early[:2]]
    read = "".join([section, *programs, exercise("linear_dx").template(lang)])
    assert len(re.findall(r"[A-Za-z0-9_']+|[\u4e00-\u9fff]{2}", read)) <= 12 * 120


def test_the_chinese_page_quotes_what_they_print():
    page = (ROOT / "docs" / "book" / "zh" / "README.md").read_text(encoding="utf-8")
    section = page[page.index("\n## 第一章之前") : page.index("\n## 怎么读")]
    run = [sys.executable, "-c", "import runpy, sys; [runpy.run_path(p, run_name='__main__') for p in sys.argv[1:]]"]
    printed = subprocess.run([*run, *FILES], capture_output=True, text=True, timeout=60, check=True).stdout
    known = (
        printed + "".join(path.read_text(encoding="utf-8") for path in FILES) + "my_layers/linear_dx.py linear_dx 2 h"
    )
    quoted = re.findall(r"`([^`\n]+)`", section)
    assert len(quoted) > 20
    for text in quoted:
        assert text in known, text


@pytest.mark.slow
def test_plain_training_program():
    command = [sys.executable, "-W", "error", "-m", "nanograd.reference.training"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr
    assert "ln V = 2.6391" in done.stdout
    first, last = (float(line.split()[-1]) for line in done.stdout.splitlines()[1:5:3])
    assert abs(first - 2.6391) < 0.1 and last < 0.5
