"""`python -m gpt.pictures`."""

import sys

from gpt.cli import command_line as cli
from gpt.pictures import main

if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
