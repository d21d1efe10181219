"""A Hugging Face folder: config.json and the safetensors files, one or several.

    config.json                      what the model is
    model.safetensors                its tensors; or, where they are many,
    model.safetensors.index.json     {"weight_map": {tensor: file}} and the files
    generation_config.json           which ids start and end a text, if it is there
    tokenizer.json, vocab.json, …    vocab.py reads those

Nothing outside the folder is opened: an index names files, and a name with a path in it is refused. pytorch_model.bin
is a pickle, which can run any program when it is read, so it is never opened.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpt.errors import RunError
from gpt.files import parse_json, read_bytes
from gpt.tensors.safetensors import quoted
from gpt.tensors.tensor_file import TensorFile

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
JSON_LIMIT = 64 << 20  # bytes; tokenizers of 250,000 tokens have 20 MB
PICKLES = "pytorch_model.bin", "pytorch_model.bin.index.json"


def is_hub_folder(folder: Path) -> bool:
    """Is this a folder of a model of other people's, rather than a run of ours?"""
    return (folder / CONFIG).is_file() or any((folder / name).is_file() for name in (WEIGHTS, INDEX, *PICKLES))


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises RunError."""

    def damaged(problem):
        return RunError(f"{path} is damaged: {problem}")

    value = parse_json(read_bytes(path, JSON_LIMIT), damaged)
    if not isinstance(value, dict):
        raise damaged("it holds no JSON object")
    return value


def read_config(folder: Path) -> dict:
    """config.json. Raises RunError, also where it is not there."""
    if not (folder / CONFIG).exists():
        raise RunError(f"{folder} has no {CONFIG}, which says what the model is")
    return read_json(folder / CONFIG)


class Shards:
    """The tensors of a folder: a source as gpt/hub/weights.py describes it. `path` is the folder.

    `known_as` makes the name by which a tensor is known of the one in the file. Use it in a `with`.
    Raises RunError for a file that is missing, outside the folder or damaged.
    """

    def __init__(self, folder: Path, known_as: Callable[[str], str]):
        self.path = folder
        self.tensors: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, tuple[TensorFile, str]] = {}
        with contextlib.ExitStack() as stack:
            for name, listed in files_of(folder).items():
                file = TensorFile(folder / name)
                stack.callback(file.close)
                self._add(file, listed, known_as)
            self._open = stack.pop_all()

    def _add(self, file: TensorFile, listed: set[str] | None, known_as) -> None:
        if listed is not None and (absent := listed - file.entries.keys()):
            raise RunError(f"{file.path} has no tensor {quoted(min(absent))}, which {INDEX} says it has")
        for name, entry in file.entries.items():
            known = known_as(name)
            if known in self._places:
                raise RunError(f"{file.path}: tensor {quoted(name)} is there twice")
            self._places[known] = file, name
            self.tensors[known] = entry.shape

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def where(self, name: str) -> Path:
        return self._places[name][0].path

    def dtype(self, name: str) -> np.dtype:
        file, there = self._places[name]
        return file.dtype(there)

    def pieces(self, name: str, whole: bool = False):
        file, there = self._places[name]
        return file.pieces(there, whole)


def files_of(folder: Path) -> dict[str, set[str] | None]:
    """{file: the tensors that it should have, None where nothing says so} of a folder's weights. Raises RunError."""
    if (folder / WEIGHTS).exists():
        return {WEIGHTS: None}
    if not (folder / INDEX).exists():
        for name in PICKLES:
            if (folder / name).exists():
                raise RunError(
                    f"{folder} has its weights in {name}, a pickle, which can run any program when it is read; with "
                    "transformers installed, AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) "
                    "writes them as safetensors"
                )
        raise RunError(f"{folder} has neither {WEIGHTS} nor {INDEX}: there are no weights in it")
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise RunError(f"{folder / INDEX} is damaged: it has no weight_map")
    files: dict[str, set[str] | None] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or name != Path(name).name or "\\" in name or "\0" in name or name in ("", ".."):
            raise RunError(f"{folder / INDEX} names {quoted(str(name))}, which is no file in its folder")
        files.setdefault(name, set()).add(tensor)
    for name in files:
        if not (folder / name).is_file():
            raise RunError(f"{folder} has no {quoted(name)[1:-1]}, which {INDEX} names")
    return files
