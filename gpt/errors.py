"""What can go wrong for a user, and the exit code that says so.

A message is one line: what is wrong, and what is allowed or what to do. `gpt.cli.command_line.run` prints it, after
"error: " or the `label` that a command in another language gives it.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """The request cannot be: a bad value, an unknown name, flags that contradict each other. Exit code 2."""


class RunError(RuntimeError):
    """The world did not play along: a damaged file, a full disk, numbers that are not finite. Exit code 1."""


@contextmanager
def flags_as_parameters() -> Iterator[None]:
    """Within it a UsageError says `lr` where it says `--lr`: a call's parameters have the names of flags."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace("--", "")) from None
