"""`python -m exercises`."""

import sys

from gpt.cli import command_line


def main(arguments: list[str]) -> int | None:
    from exercises.command import main as command  # imported late: without NumPy `run` says what to install

    return command(arguments)


if __name__ == "__main__":
    command_line.run(main, sys.argv[1:])
