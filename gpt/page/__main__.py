"""`python -m gpt.page`."""

import sys

from gpt.cli import command_line as cli
from gpt.page.command import main

if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
