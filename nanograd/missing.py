"""One line in place of a trace, where a package that is needed is not installed.

Most commands import NumPy with their first lines, before anything of theirs runs that could catch the error. So where
there is no NumPy, without which nothing here works, `import nanograd` changes how Python shows such an error when it
ends a program. The exit code is 1, as ever.
"""

import sys
from importlib.machinery import PathFinder

OURS = "gpt", "nanograd", "tokenizers"


def missing_package(error: BaseException) -> str:
    """The line for a package that could not be imported; "" for one of ours, and for any other error."""
    if not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] in OURS:
        return ""
    return f"error: the package {error.name} is not installed; pip install -e . gets what is needed"


def shorten_errors() -> None:
    """Where NumPy is not installed, show errors of imports, which are sure to come, as one line."""
    if "numpy" in sys.modules or PathFinder.find_spec("numpy"):
        return
    before = sys.excepthook

    def show(kind, error, trace):
        line = missing_package(error)
        print(line, file=sys.stderr) if line else before(kind, error, trace)

    sys.excepthook = show
