"""`python -m nanograd.gradcheck`: every layer. `python -m gpt.gradcheck` adds whole models, and the model of a run."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from nanograd.gradcheck.table import layer_rows, print_table, torch_reference


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (--help lists what there is)", file=sys.stderr)
        raise SystemExit(2)


def seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def command(arguments: Sequence[str]) -> int:
    """Carry out one call; its exit code."""
    parser = Parser(
        prog="python -m nanograd.gradcheck",
        description="Check the gradients of every layer. Whole models, and the model of a run: python -m gpt.gradcheck",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="decides inputs, directions and sampled elements (default: 0)"
    )
    parser.add_argument("--config", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.config:
        parser.error(f"the model of a run is checked by python -m gpt.gradcheck --config {options.config}")
    reference, why_not = torch_reference()
    return print_table(layer_rows(options.seed, reference), options.json, why_not)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
