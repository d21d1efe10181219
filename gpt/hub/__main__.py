"""python -m gpt.hub export RUN OUT: a run as a Hugging Face folder, or as a GGUF file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt.cli import command_line as cli
from gpt.config.flags import Checked, flag
from gpt.config.options import WhichFlags
from gpt.errors import UsageError
from gpt.hub.export import export
from gpt.hub.load import open_model

EXAMPLES = """\
examples:
  python -m gpt.hub export out/tales hf-tales                    a folder for transformers
  python -m gpt.hub export out/tales tales.gguf --format gguf    a file for llama.cpp
"""


@dataclass(frozen=True, kw_only=True)
class ExportFlags(Checked):
    run: str = flag(..., "what to export: the folder of a run, or any model that sample.py takes", metavar="RUN",
                    positional=True, path=True)  # fmt: skip
    out: str = flag(..., "where to: a new folder, or a new .gguf file", metavar="OUT", positional=True, path=True)
    format: Literal["hf", "gguf"] = flag("hf", "of Hugging Face's libraries, or of llama.cpp")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(WhichFlags, ExportFlags):
    """Write a run in the formats of other people's tools."""

    debug: bool = flag(False, "show the trace of an error", saved=False)


def main(arguments: list[str]) -> int:
    if arguments[:1] not in (["export"], ["--help"], ["-h"], ["--version"]):
        raise UsageError("python -m gpt.hub does one thing: export RUN OUT; --help says how")
    config = cli.parse(ExportConfig, arguments[arguments[:1] == ["export"] :], "python -m gpt.hub export", EXAMPLES)
    print(export(open_model(config.run, config.which, "numpy"), Path(config.out), config.format))
    return 0


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
