"""`python -m exercises`."""

import sys

from exercises.command import main
from gpt.cli import command_line

if __name__ == "__main__":
    command_line.run(main, sys.argv[1:])
