"""Translates PTX to C++ and compiles that with g++ to a library of kernels that run on a CPU.

    python3 translate.py IN.ptx OUT.so [RACES] [COUNTS]

Each PTX function becomes a C++ function, each register a local variable, each branch a goto. What surrounds them (the
threads of a block as fibers, warps, barriers, the arithmetic that C++ lacks) is in runtime/. An instruction that is not
known is an error that names it and its line.
"""

import sys
from pathlib import Path

from ptx.module import build
from ptx.values import Unsupported


def main() -> int:
    if len(sys.argv) < 3 or not set(sys.argv[3:]) <= {"RACES", "COUNTS"}:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        build(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2], sys.argv[3:])
    except (Unsupported, RuntimeError) as problem:
        print(f"{sys.argv[1]}: not supported: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
