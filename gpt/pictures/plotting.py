"""matplotlib, imported so that settings for other programs do not apply.

Drawing into a file needs no display and no notebook's backend. A notebook sets MPLBACKEND for its own
pictures, and the programs that are started from it inherit the name of a package they may not have; matplotlib then
refuses to be imported. And where there is no home to write its caches to, it says so at length.
"""

import contextlib
import logging
import os
import sys


def load_matplotlib() -> None:
    """Import matplotlib, whatever MPLBACKEND says; the backend stays what it asks for, where there is one."""
    if "matplotlib.font_manager" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib
        import matplotlib.font_manager  # here it looks for a folder for its caches

        if backend:
            with contextlib.suppress(ValueError, ImportError):  # not to be had: nothing here needs it
                matplotlib.rcParams["backend"] = backend
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
