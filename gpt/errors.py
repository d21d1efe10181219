"""What can go wrong for a user, and the exit code that says so.

A message is one line: what is wrong, and what is allowed or what to do. `gpt.cli.command_line.run` prints it.
"""


class UsageError(ValueError):
    """The request cannot be: a bad value, an unknown name, flags that contradict each other. Exit code 2."""

    label = "error: "  # stands before the message; a command in another language has its own


class RunError(RuntimeError):
    """The world did not play along: a damaged file, a full disk, numbers that are not finite. Exit code 1."""

    label = "error: "
