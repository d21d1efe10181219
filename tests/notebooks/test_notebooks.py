"""The notebooks: made from their sources, run from top to bottom without an error or a word on stderr."""

import importlib.util
import json
import re
import sys

import pytest

from tests.support import ROOT

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
FOLDER = ROOT / "notebooks"
spec = importlib.util.spec_from_file_location("notebooks_build", FOLDER / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
LARGEST = 600_000  # bytes


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_has_the_cells_of_its_source_and_their_outputs(name):
    assert not build.is_stale(name), f"python notebooks/build.py {name}"
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code"), "it was not run"
    assert outputs and not [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"]
    assert len(text.encode()) < LARGEST and "/home/" not in text and str(ROOT) not in text


def test_a_changed_source_is_stale(monkeypatch, tmp_path):
    for name in ("mini_gpt.py", "mini_gpt.ipynb"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert not build.is_stale("mini_gpt")
    source = tmp_path / "mini_gpt.py"
    source.write_text(source.read_text(encoding="utf-8").replace("B, T = 4, 12", "B, T = 4, 8"), encoding="utf-8")
    assert build.is_stale("mini_gpt")
    monkeypatch.setattr(sys, "argv", ["build.py", "--check", "mini_gpt"])
    assert build.main() == 1


def test_both_languages_run_the_same_steps_and_name_the_article():
    english, chinese = (build.source_of(name) for name in build.NAMES)
    assert [cell.cell_type for cell in english.cells] == [cell.cell_type for cell in chinese.cells]
    called = [re.findall(r"\b(\w+)\(", cell.source) for cell in english.cells if cell.cell_type == "code"]
    for names, cell in zip(called, [cell for cell in chinese.cells if cell.cell_type == "code"], strict=True):
        assert set(names) <= set(re.findall(r"\b(\w+)\(", cell.source))
    for notebook in english, chinese:
        first = notebook.cells[0].source
        assert "从零实现 LLM（上）：原理讲透 + 最小可运行 GPT" in first
        assert "https://blog.csdn.net/qq_41865545/article/details/151143409" in first


@pytest.mark.slow
@pytest.mark.parametrize("name", build.NAMES)
def test_every_cell_runs(name, tmp_path):
    pytest.importorskip("ipywidgets")
    done = build.execute(build.source_of(name), tmp_path, quick=True)  # raises for an error and for text on stderr
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    assert (tmp_path / "out/mini-gpt/page.html").is_file() and (tmp_path / "out/hf-mini-gpt/config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell", ["import sys; print('a word', file=sys.stderr)", "import warnings; warnings.warn('w')"]
)
def test_a_word_on_stderr_and_a_warning_end_the_build(cell, tmp_path):
    notebook = build.nbformat.v4.new_notebook(cells=[build.nbformat.v4.new_code_cell(cell)])
    with pytest.raises(build.Complaint):
        build.execute(notebook, tmp_path)
