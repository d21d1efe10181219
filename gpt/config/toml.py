"""Configurations as TOML: flat `name = value` lines under the flags' names, aliases and hyphens included.

    # small.toml, for python train.py --config small.toml
    data = ["my text.txt"]
    n_layer = 4
    learning-rate = 1e-3

What a user wrote wrongly in a file that can be read (an unknown name, a bad value) is a UsageError, as on the
command line, and so is a file that does not exist. A file that cannot be read as TOML at all is a RunError.

Why not the package `tomli-w` for writing: what is written here are flat lines of numbers, booleans, strings and lists
of strings, under one comment, and JSON spells all of them as TOML does.
"""

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from gpt.config.flags import Checked, canonical, check_names, rule_of
from gpt.errors import RunError, UsageError

SIZE_LIMIT = 2**20  # bytes; a configuration has two thousand
Configuration = TypeVar("Configuration", bound=Checked)


def read_toml(config_class: type[Checked], path: str | Path) -> dict[str, Any]:
    """The flags that a file sets, checked one by one, under their own names.

    Raises UsageError (no such file, unknown name, bad value), RunError (not UTF-8, not TOML, too large), OSError.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: there is no such configuration file")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a configuration is a TOML file")
    with open(path, "rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise RunError(f"{path}: larger than {SIZE_LIMIT} bytes, so no configuration")
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))  # without the mark that Windows editors put first
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid TOML: {error}") from error
    for name, value in table.items():
        if isinstance(value, dict):
            raise UsageError(f"{path}: there are no tables here: write what is in [{name}] as plain name = value lines")
        if canonical(name) == "config":
            raise UsageError(f"{path}: a configuration file cannot name another with {name!r}")
    return check_names(config_class, table, where=f"{path}: ")


def read_run_config(config_class: type[Configuration], path: str | Path) -> Configuration:
    """The configuration that a run wrote about itself with dump_toml.

    Raises RunError for whatever is wrong with it, since a program wrote it, and OSError.
    """
    try:
        values = read_toml(config_class, path)
        if not values:  # every run notes what it trained on, and how long
            raise UsageError(f"{path} is empty")
        return config_class(**values)
    except UsageError as error:
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise RunError(f"{message} (the file of a run; was it changed by hand?)") from error


def dump_toml(config: Checked) -> str:
    """Everything needed to run this again, as TOML: every value but None and what started only this one run.

    Reading the text back gives an equal configuration, with `out_dir`, `config`, `resume`, `overwrite` and
    `debug` at their defaults.
    """
    values = {f.name: getattr(config, f.name) for f in fields(config) if rule_of(f).saved}
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    return "\n".join(["# To train the same model again: python train.py --config THIS_FILE", *lines]) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # the shortest text that reads back as this float
    # JSON's true, numbers and strings are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
