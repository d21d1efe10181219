"""A learner's file can be broken in any way: the answer is one helpful sentence, never a trace of ours."""

import os

import pytest

from exercises.catalog import exercise
from exercises.child import run_child
from exercises.command import main, verdict_lines
from tests.support.marks import slow

LINEAR = exercise("linear").template("en")
TODO = '        raise NotImplementedError("linear")\n'
RIGHT = exercise("linear").solution()
assert TODO in LINEAR

BODIES = {  # what backward does: what the sentence says
    "        while True:\n            pass\n": "never stops",
    "        return None\n": "returns None",
    "        pass\n": "returns None",
    "        return dy\n": "dx has the shape (2, 3, 3); it should be (2, 3, 4)",
    "        return (dy @ self.weight.value.T).astype(np.float32)\n": "dx is float32; it should be float64",
    "        return (dy @ self.weight.value.T).tolist()\n": "returns a list for dx",
    "        return dy @ self.weight.value.T, dy\n": "returns 2 arrays",
    "        return dy @ self.weight.value.T / 0.0\n": "NaN or infinity",
    "        return dy @ self.weight.value\n": "its left side has 3 columns, its right side 4 rows",
    "        return undefined\n": "line 34, in backward: NameError: name 'undefined' is not defined",
    "        raise SystemExit(3)\n": "ends Python in backward",
    "        import os\n        os._exit(3)\n": "ended Python while it was checked (exit code 3)",
    "        return input()\n": "waits for input in backward",
    "        x += 1\n        return dy @ self.weight.value.T\n": "backward writes into x",
    "        dy *= 2\n        return dy @ self.weight.value.T\n": "backward writes into dy",
    "        return self.backward(dy)\n": "RuntimeError",
    "        f = lambda: f()\n        f()\n": "RecursionError",
    "        raise KeyboardInterrupt\n": "KeyboardInterrupt",
    "        a = np.ones(10**12)\n        return a\n": "MemoryError",
}
FILES = {
    "": "is empty; a fresh one: python -m exercises start linear --again",
    "\n\n": "is empty",
    "def f(:\n": "line 1 is not Python",
    "x = 'a\n": "line 1 is not Python",
    "import nonsense_that_is_not_there\n": "line 1, in import: ModuleNotFoundError",
    "1 / 0\n": "line 1, in import: ZeroDivisionError",
    "class Other: pass\n": "has no class Linear",
    "Linear = 3\n": "has no class Linear",
    "class Linear:\n    def __init__(self, a, b): pass\n": "Linear is no Layer any more",
    RIGHT.replace("(Layer)", ""): "Linear is no Layer any more",
    RIGHT.replace("def __init__(self, n_in, n_out)", "def __init__(self, n_in)"): "in __init__: TypeError",
    RIGHT.replace("+ self.bias.value", ""): "forward gives something else",
    RIGHT.replace("np.zeros(n_out)", "np.zeros(1)"): "parameters have changed",
    RIGHT.replace("self.remember(x)", "self.remember(x); x += 1"): "forward",
    RIGHT.replace("def backward", "def backwards"): "backward: TypeError",
    "while True: pass\n": "never stops",
    "import sys\nsys.exit()\n": "ends Python in import",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n" + RIGHT: "linear: right",
    "print('hello')\nprint('again')\n" + RIGHT: "printed 2 lines while it was checked, the first of them 'hello'",
    "while True: print('x' * 100)\n": "never stops",
    "def __getattr__(name): return 3\n" + RIGHT: "linear: right",
}
CASES = {LINEAR.replace(TODO, body): says for body, says in BODIES.items()} | FILES


ENDLESS = [source for source in CASES if "never stops" in CASES[source]]  # seconds each: until the limit


@pytest.mark.parametrize(
    "source",
    [slow(s) if s in ENDLESS or i % 6 else s for i, s in enumerate(CASES)],
    ids=[f"{i}" for i in range(len(CASES))],
)
def test_one_sentence(source, tmp_path):
    assert "line 0" not in CASES[source]
    path = tmp_path / "linear.py"
    path.write_text(source, encoding="utf-8")
    verdict = run_child("exercises.judge", "linear", str(path), limit=4 if source in ENDLESS else 60)
    for lang in ("en", "zh"):
        lines = verdict_lines("linear", verdict, lang)
        assert len(lines) <= 2
        assert all("Traceback" not in line and "judge.py" not in line for line in lines)
        if lang == "en":
            assert CASES[source] in "\n".join(lines)
    assert verdict["ok"] == (source.endswith(RIGHT) and source != RIGHT)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"x = '\x00'\n", "not Python"),
        (b"\xef\xbb\xbf" + RIGHT.encode(), "linear: right"),
    ],
)
def test_files_that_are_no_plain_text(content, says, tmp_path):
    path = tmp_path / "linear.py"
    path.write_bytes(content)
    verdict = run_child("exercises.judge", "linear", str(path))
    assert says in verdict_lines("linear", verdict, "en")[0]


FUNCTIONS = {
    "def clip(gradients, max_norm):\n    pass\n": "clip returns None",
    "def clip(gradients, max_norm):\n    return gradients\n": "is not what its docstring says",
    "def clip(gradients, max_norm):\n    return 3\n": "is not what its docstring says",
    "def clip(gradients, max_norm):\n    gradients['bias'] *= 2\n    return gradients, 1\n": "clip writes into",
    "def clip(a):\n    return 3\n": "in clip: TypeError",
    "def clip(gradients, max_norm):\n    return {n: g[:1] for n, g in gradients.items()}, 1.0\n": "has the shape",
    "clip = 3\n": "has no function clip",
}


@pytest.mark.parametrize(
    "source", [slow(s) if i > 2 else s for i, s in enumerate(FUNCTIONS)], ids=range(len(FUNCTIONS))
)
def test_functions_too(source, tmp_path):
    path = tmp_path / "clipping.py"
    path.write_text(source, encoding="utf-8")
    verdict = run_child("exercises.judge", "clipping", str(path))
    assert not verdict["ok"] and FUNCTIONS[source] in verdict_lines("clipping", verdict, "en")[0]


def test_a_file_named_like_a_module_is_not_imported(tmp_path, monkeypatch, capsys):
    """my_layers/ is on no path: numpy.py beside the learner's file does no harm."""
    monkeypatch.chdir(tmp_path)
    assert main(["start", "relu", "--lang", "en"]) == 0
    for name in ("numpy.py", "json.py"):
        (tmp_path / "my_layers" / name).write_text("1 / 0\n")
        (tmp_path / name).write_text("1 / 0\n")
    (tmp_path / "my_layers" / "relu.py").write_text(exercise("relu").solution())
    assert main(["check", "relu", "--lang", "en"]) == 0
    assert "relu: right" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.slow
def test_a_pipe_in_place_of_a_file(tmp_path):
    os.mkfifo(tmp_path / "linear.py")
    verdict = run_child("exercises.judge", "linear", str(tmp_path / "linear.py"), limit=1)
    assert verdict["problem"] == "time"
