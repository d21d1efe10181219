"""Train a GPT: `python train.py`; what it can be told: `python train.py --help`."""

from gpt.commands import run_train
from gpt.commands import train as main

__all__ = ["main"]

if __name__ == "__main__":
    run_train()
