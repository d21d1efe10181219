import subprocess
import sys
from types import ModuleType, SimpleNamespace

from gpt.notebook.kernel import Place, in_kernel
from tests.support import ROOT


def test_a_kernel_is_told_from_a_terminal_and_from_plain_python(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_kernel()
    ipython = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    for shell, answer in (None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True):
        ipython.get_ipython = lambda shell=shell: shell
        assert in_kernel() is answer


def test_a_place_is_written_to_again(kernel):
    places = Place(), Place()
    for text in "a", "b":
        for place in places:
            place.show({"text/plain": text})
    assert [how for how, _, _ in kernel] == ["display", "display", "update", "update"]
    first, second, *again = [place for _, place, _ in kernel]
    assert first != second and again == [first, second]


def test_without_a_kernel_ipython_is_not_imported():
    code = "import sys, gpt.notebook, gpt.training.progress; print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
