"""Random models that transformers wrote: its logits, gradients and greedy text, and ours.

transformers needs the package `tokenizers`, the name of a folder here, so it runs in an environment of its own:
NANOGRAD_TRANSFORMERS=/path/to/its/python names it, and without that these tests are skipped.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gpt import generate, load

PYTHON = os.environ.get("NANOGRAD_TRANSFORMERS")
MODELS = "gpt2", "gpt2_untied_relu", "llama", "llama_tied", "llama3", "mistral", "qwen2", "qwen3"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="NANOGRAD_TRANSFORMERS names no Python that has transformers"),
]


def theirs(*arguments, cwd: Path) -> None:
    script = Path(__file__).with_name("theirs.py")
    subprocess.run([PYTHON, "-P", str(script), *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("theirs")
    theirs("make", path, cwd=path)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_their_models_compute_the_same_here(folder, name):
    model, _ = load(folder / name)
    expected = np.load(folder / name / "expected.npz")
    ids = expected["ids"]
    logits, _ = model(ids)
    assert np.abs(logits - expected["logits"]).max() < 1e-5 * max(1, np.abs(expected["logits"]).max())
    _, loss = model(ids[:, :-1], ids[:, 1:])
    assert abs(float(loss) - float(expected["loss"])) < 1e-5
    model.backward()
    gradient = expected["gradient"]
    assert np.abs(model.wte.weight.grad - gradient).max() < 1e-4 * np.abs(gradient).max()
    new = list(generate(model, ids[0, :8].tolist(), 40, temperature=0))
    assert new == expected["greedy"][0, 8:].tolist()
