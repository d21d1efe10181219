"""`python -m nanograd.gradcheck`: every layer. `python -m gpt.gradcheck` adds whole models, and the model of a run."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from nanograd import __version__
from nanograd.command import run
from nanograd.gradcheck.table import layer_cases, layer_rows, print_table, torch_reference


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
    parser.add_argument("--version", action="version", version=f"%(prog)s of nanograd {__version__}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="decides inputs, directions and sampled elements (default: 0)"
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        nargs="?",
        const="gradcheck.png",
        help="draw how Taylor's remainder falls, right and wrong, into a PNG or SVG file (default: gradcheck.png)",
    )
    parser.add_argument("--layer", metavar="NAME", default="LayerNorm", help="the layer to draw (default: LayerNorm)")
    parser.add_argument("--config", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.config:
        parser.error(f"the model of a run is checked by python -m gpt.gradcheck --config {options.config}")
    if options.picture:
        return picture(parser, options.picture, options.layer, options.seed)
    reference, why_not = torch_reference()
    return print_table(layer_rows(options.seed, reference), options.json, why_not)


def picture(parser: Parser, path: str, name: str, seed: int) -> int:
    from nanograd.gradcheck.slopes import draw_slopes

    cases = {case: (layer, inputs) for case, layer, inputs in layer_cases(np.random.default_rng(seed))}
    if name not in cases:
        parser.error(f"there is no layer {name!r}: {', '.join(cases)}")
    if not path.endswith((".png", ".svg")):
        parser.error(f"--picture {path}: the name must end in .png or .svg")
    layer, inputs = cases[name]
    try:
        draw_slopes(name, layer, inputs, path, seed)
    except OSError as error:
        print(f"error: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    run(command)
