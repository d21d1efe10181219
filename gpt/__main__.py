"""`python -m gpt`: the commands there are."""

import sys

from gpt import __version__

COMMANDS = """\
nanograd's commands:
  python train.py                train a model (nanograd-train, where the package is installed)
  python sample.py               let it go on with a prompt (nanograd-sample)
  python -m gpt.pictures         pictures of a run
  python -m gpt.diagnose         what is wrong with a run, and which flag to change
  python -m gpt.evaluate         loss, perplexity and bits per byte over a whole text
  python -m gpt.page             a run as one page, with the model running in it
  python -m gpt.hub              write a run for transformers or llama.cpp
  python -m gpt.gradcheck        check the gradients of layers and whole models
  python -m exercises            write the layers yourself, and have them judged
  python -m nanograd.doctor      what this machine has for it
Each has --help and --version. Downloads, tokenizers and tokens are kept in ~/.cache/nanograd, or in $NANOGRAD_CACHE."""

if __name__ == "__main__":
    print(f"python -m gpt of nanograd {__version__}" if "--version" in sys.argv else COMMANDS)
    sys.exit(0)
