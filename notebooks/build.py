"""Make the notebooks from their sources, with outputs: `python notebooks/build.py`, some minutes on two cores.

    python notebooks/build.py mini_gpt      this one alone
    python notebooks/build.py --check       exit code 1 if an .ipynb has other cells than its source

`mini_gpt.py` and `mini_gpt.zh.py` are what one edits: cells as jupytext's percent format has them. Notebooks run in a
folder of their own with the package of this checkout. An error, a warning or anything else on stderr ends the build.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

try:
    import jupytext
    import nbformat
    from nbclient import NotebookClient
except ModuleNotFoundError as error:
    raise SystemExit(f'error: the package {error.name} is not installed; pip install -e ".[test]" gets it') from None

HERE = Path(__file__).resolve().parent
NAMES = "mini_gpt", "mini_gpt.zh"
SECONDS = 300  # for one cell
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}


class Complaint(Exception):
    """A cell has written to stderr."""


def source_of(name: str) -> nbformat.NotebookNode:
    """The notebook without outputs, as its source has it."""
    notebook = jupytext.read(HERE / f"{name}.py")
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"cell-{number:02}"
    return notebook


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def is_stale(name: str) -> bool:
    """Whether the .ipynb is not there, or its cells are not those of its source."""
    path = HERE / f"{name}.ipynb"
    return not path.exists() or cells_of(nbformat.read(path, as_version=4)) != cells_of(source_of(name))


def execute(notebook: nbformat.NotebookNode, folder: Path, quick: bool = False) -> nbformat.NotebookNode:
    """Run every cell, in `folder`; the same notebook with its outputs.

    Raises nbclient's CellExecutionError for an error, Complaint for text on stderr, warnings included.
    """
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "default"}
    environment.pop("MINI_GPT_QUICK", None)
    if quick:
        environment["MINI_GPT_QUICK"] = "1"
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream" and output.name == "stderr":
                raise Complaint(f"{cell.source}\n\n{output.text}")
    return notebook


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what needs a kernel to be shown: a saved widget is a line about a missing model."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    notebook.metadata = nbformat.from_dict(METADATA)  # widgets are noted there, and the kernel's own version
    return notebook


def build(name: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        notebook = without_widgets(execute(source_of(name), Path(folder)))
    nbformat.validate(notebook)
    path = HERE / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all without any")
    parser.add_argument("--check", action="store_true", help="say which .ipynb has other cells than its source")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"there is no notebook {', '.join(unknown)}: there are {', '.join(NAMES)}")
    names = given.names or NAMES
    if given.check:
        stale = [name for name in names if is_stale(name)]
        for name in stale:
            print(f"{name}.ipynb is stale: python notebooks/build.py {name}")
        return int(bool(stale))
    for name in names:
        try:
            path = build(name)
        except Complaint as complaint:
            print(f"{name}: a cell wrote to stderr\n{complaint}", file=sys.stderr)
            return 1
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
