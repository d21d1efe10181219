"""How `python -m nanograd.doctor` and `python -m nanograd.gradcheck` end: with an exit code, never with a trace."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence


def run(command: Callable[[Sequence[str]], int]) -> None:
    """Carry out `command` on what was typed and end with its exit code; 130 after Ctrl-C, 141 after a closed pipe."""
    try:
        code = command(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        drop_output()
        code = 141
    sys.exit(code)


def drop_output() -> None:
    """Keep Python from complaining at exit about output that cannot be written any more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
