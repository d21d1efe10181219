"""The place under a cell where a notebook shows something, and that it may be written to again.

Nothing here imports IPython where there is no kernel: a script that never saw one stays as quick to start.
"""

import sys
import uuid


def in_kernel() -> bool:
    """Whether this is a notebook's kernel, which shows HTML; IPython in a terminal does not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class Place:
    """A place in the output of the cell that runs. `show` fills it, and what was there before is gone."""

    def __init__(self):
        self._id = None

    def show(self, bundle: dict[str, str]) -> None:
        """Show {MIME type: text}, of which the front end takes the richest that it knows."""
        from IPython.display import display, update_display

        if self._id is None:
            self._id = uuid.uuid4().hex
            display(bundle, raw=True, display_id=self._id)
        else:
            update_display(bundle, raw=True, display_id=self._id)
