"""Sample a trained GPT: `python sample.py`; what it can be told: `python sample.py --help`."""

from gpt.commands import run_sample
from gpt.commands import sample as main

__all__ = ["main"]

if __name__ == "__main__":
    run_sample()
