import sys
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def kernel(monkeypatch):
    """A notebook's kernel; the list gets ("display" or "update", id, bundle) for each time something is shown."""
    shown = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.display = lambda bundle, raw, display_id: shown.append(("display", display_id, bundle))
    display.update_display = lambda bundle, raw, display_id: shown.append(("update", display_id, bundle))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown
