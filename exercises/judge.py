"""Is a learner's file right, and if not, what is wrong? In a process of its own, which its parent ends in time.

    python -m exercises.judge NAME FILE RESULT      writes the verdict to RESULT, as JSON

The verdict is {"ok": bool, "problem": a key of messages.toml or "", "values": {…} for that message, "right": [names],
"wrong": [{"name", "index", "yours", "expected"}], "mistakes": [numbers], "factors": {…}, "lines": how many the file
printed}.
"""

import json
import os
import re
import sys
import traceback
import types
from pathlib import Path

MEMORY = 4 * 2**30  # bytes, where the system can limit it


# Rules that a layer of this project keeps and a right answer may break: told, not held against it.
GOOD_MANNERS = ("keeps_float32", "passes_nan_on", "takes_arrays_of_any_layout", "hands_its_gradients_over")
GOOD_MANNERS += ("wants_one_forward_for_each_backward",)


class Problem(Exception):
    """Something is wrong that has a sentence of its own: the key of the message, and what it is filled with."""

    def __init__(self, key: str, **values):
        super().__init__(key)
        self.key, self.values = key, values


class Counting:
    """Takes what the learner's file prints: counts lines, keeps the first."""

    encoding = "utf-8"

    def __init__(self):
        self.lines, self.first = 0, ""

    def write(self, text):
        if not self.lines:
            self.first = (self.first + str(text))[:200]
        self.lines += str(text).count("\n")
        return len(str(text))

    def flush(self):
        pass

    def isatty(self):
        return False


def load(path: Path) -> types.ModuleType:
    try:
        source = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Problem("not_utf8") from None
    except OSError as error:
        raise Problem("unreadable", why=error.strerror or type(error).__name__) from None
    if not source.strip():
        raise Problem("empty")
    try:
        code = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        raise Problem(
            "syntax", line=getattr(error, "lineno", None) or 0, what=getattr(error, "msg", str(error))
        ) from None
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    guarded(path, "import", lambda: exec(code, module.__dict__))
    return module


def guarded(path: Path, phase: str, call):
    """call(), with whatever the learner's code raises turned into a Problem that names the line."""
    try:
        return call()
    except Problem:
        raise
    except NotImplementedError as error:
        raise Problem("todo", line=line_in(error, path)) from None
    except SystemExit:
        raise Problem("exits", phase=phase) from None
    except EOFError:
        raise Problem("reads_input", phase=phase) from None
    except BaseException as error:
        text = " ".join(str(error).split())[:200]
        line, what = line_in(error, path), f"{type(error).__name__}: {text}".rstrip(": ")
        sizes = re.search(r"matmul: .*\(size (\d+) is different from (\d+)\)", text)
        if line and sizes:
            raise Problem("product", phase=phase, line=line, left=sizes[2], right=sizes[1]) from None
        raise Problem("raises" if line else "raises_outside", phase=phase, line=line, what=what) from None


def line_in(error: BaseException, path: Path) -> int:
    """The last line of the learner's file, or of one in the folder `path`, on the way to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = (frame for frame in reversed(frames) if path in (Path(frame.filename), Path(frame.filename).parent))
    return next((frame.lineno for frame in ours), 0)


def judge(name: str, path: Path) -> dict:
    """The verdict on a file, without the limits of a process of its own."""
    from exercises.cases import CASES, LayerCase

    case = CASES[name]
    verdict = {"ok": False, "problem": "", "values": {}, "right": [], "wrong": [], "mistakes": [], "factors": {}}
    try:
        module = load(path)
        if not callable(getattr(module, case.defines, None)):
            kind = "class" if isinstance(case, LayerCase) else "function"
            raise Problem(f"no_{kind}", defines=case.defines)
        if isinstance(case, LayerCase) and not is_layer(getattr(module, case.defines)):
            raise Problem("no_layer", defines=case.defines)
        judge_layer(name, module, path) if isinstance(case, LayerCase) else judge_function(name, module, path)
        compare(name, module, path, verdict)
        if isinstance(case, LayerCase) and not verdict["wrong"]:
            verdict["remark"] = check_gradients(name, module, path)
        verdict["ok"] = not verdict["wrong"]
    except Problem as problem:
        verdict |= {"problem": problem.key, "values": problem.values, "ok": False}
    return verdict


def is_layer(thing) -> bool:
    from nanograd import Layer

    return isinstance(thing, type) and issubclass(thing, Layer)


def judge_layer(name: str, module, path: Path) -> None:
    """Raise Problem unless the layer runs at all, its forward is as it was, and backward returns what it should."""
    import numpy as np

    from exercises.cases import CASES, input_names, layer_at, run
    from exercises.catalog import solved

    layer, inputs, rng = guarded(path, "__init__", lambda: layer_at(name, module, 0))
    if not is_layer(type(layer)):
        raise Problem("no_layer", defines=CASES[name].defines)
    right, _, _ = layer_at(name, solved(name), 0)
    if {n: p.shape for n, p in layer.named_parameters()} != {n: p.shape for n, p in right.named_parameters()}:
        raise Problem("parameters", names=", ".join(n for n, _ in right.named_parameters()) or "-")
    kept = [x.copy() for x in inputs]
    y = guarded(path, "forward", lambda: layer(*inputs))
    expected = right(*kept)
    if (
        not hasattr(y, "shape")
        or np.shape(y) != np.shape(expected)
        or not np.allclose(y, expected, rtol=1e-9, atol=1e-12)
    ):
        raise Problem("forward_changed")
    refuse_writes(inputs, kept, "forward")
    dy = rng.standard_normal(np.shape(y)) if np.shape(y) else rng.standard_normal()
    given = dy.copy() if np.shape(y) else dy
    returned = guarded(path, "backward", lambda: layer.backward(dy))
    refuse_writes(inputs, kept, "backward")
    if np.shape(y) and not np.array_equal(dy, given):
        raise Problem("writes", phase="backward", what="dy")
    floats = [x for x in inputs if x.dtype.kind == "f"]
    names = input_names(name)[: len(floats)]
    refuse_returned(returned, names, floats)
    guarded(path, "backward", lambda: run(name, module, 0))


def refuse_writes(inputs, kept, phase: str) -> None:
    import numpy as np

    for x, before in zip(inputs, kept, strict=True):
        if not np.array_equal(x, before):
            raise Problem("writes", phase=phase, what="x")


def refuse_returned(returned, names, inputs) -> None:
    """Raise Problem unless backward returned an array of the shape and dtype of each input."""
    import numpy as np

    if not names:
        return
    if returned is None:
        raise Problem("returns_none", names=", ".join(names))
    gradients = returned if isinstance(returned, tuple) else (returned,)
    if len(gradients) != len(names):
        raise Problem("returns_count", found=len(gradients), wanted=len(names), names=", ".join(names))
    for what, gradient, x in zip(names, gradients, inputs, strict=True):
        if not isinstance(gradient, np.ndarray):
            raise Problem("returns_type", what=what, found=type(gradient).__name__)
        if gradient.shape != x.shape:
            raise Problem("wrong_shape", what=what, found=str(gradient.shape), wanted=str(x.shape))
        if gradient.dtype != x.dtype:
            raise Problem("wrong_dtype", what=what, found=str(gradient.dtype), wanted=str(x.dtype))
        if not np.isfinite(gradient).all():
            raise Problem("not_finite", what=what)


def judge_function(name: str, module, path: Path) -> None:
    """Raise Problem unless the function can be called and returns arrays of the right shapes."""
    import numpy as np

    from exercises.cases import CASES

    case = CASES[name]
    function = getattr(module, case.defines)

    def watched(*arguments):
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        arrays += [a for d in arguments if isinstance(d, dict) for a in d.values()]
        kept = [a.copy() for a in arrays]
        returned = guarded(path, case.defines, lambda: function(*arguments))
        if returned is None:
            raise Problem("function_none", defines=case.defines)
        for a, before in zip(arrays, kept, strict=True):
            if not np.array_equal(a, before, equal_nan=True):
                raise Problem("writes_arguments", defines=case.defines)
        return returned

    try:
        calls = case.calls(watched, np.random.default_rng(0))
        for result in calls.values():
            np.array(result, dtype=float)
    except Problem:
        raise
    except Exception as error:  # what came back cannot be taken apart as the docstring says
        raise Problem("function_shape", defines=case.defines, what=" ".join(str(error).split())[:120]) from None


def compare(name: str, module, path: Path, verdict: dict) -> None:
    """Fill in which results are right, which are wrong and where, and which mistake makes them so."""
    import numpy as np

    from exercises.cases import SEEDS, run
    from exercises.recognise import recognise, right_results, wrong_names

    results = [guarded(path, "backward", lambda seed=seed: run(name, module, seed)) for seed in SEEDS]
    for found, right in zip(results, right_results(name), strict=True):
        for what, array in right.items():
            if found[what].shape != array.shape:
                verdict["mistakes"], _ = recognise(name, results)
                raise Problem("wrong_shape", what=what, found=str(found[what].shape), wanted=str(array.shape))
    wrong = wrong_names(name, results)
    verdict["right"] = [what for what in results[0] if what not in wrong]
    for what in wrong:
        right = next(q for q in zip(results, right_results(name), strict=True) if not _same(q[0][what], q[1][what]))
        yours, expected = right[0][what], right[1][what]
        with np.errstate(invalid="ignore"):
            gap = np.where(yours == expected, 0, np.nan_to_num(np.abs(yours - expected), nan=np.inf, posinf=np.inf))
        index = np.unravel_index(int(gap.argmax()), gap.shape) if gap.shape else ()
        verdict["wrong"].append(
            {
                "name": what,
                "index": [int(i) for i in index],
                "yours": float(yours[index]),
                "expected": float(expected[index]),
            }
        )
    if wrong:
        verdict["mistakes"], verdict["factors"] = recognise(name, results)


def _same(a, b) -> bool:
    from exercises.recognise import same

    return same(a, b)


def check_gradients(name: str, module, path: Path) -> str:
    """The public gradient check has the last word: Jacobians at another point, and the rules of a layer.

    Returns the name of a rule that is broken and makes no gradient wrong, or nothing.
    """
    from exercises.cases import layer_at
    from nanograd.gradcheck import check_layer

    layer, inputs, _ = layer_at(name, module, 7)
    try:
        report = check_layer(layer, *inputs, seed=1)
    except Exception as error:  # a learner's layer may fail in any way
        raise Problem("check_fails", what=" ".join(str(error).split())[:200]) from None
    for entry in report.entries:
        if not entry.error <= report.tolerance:
            raise Problem("gradient", what=entry.name, error=f"{entry.error:.1e}")
    for line in report.broken:
        rule, _, found = line.removeprefix("breaks the rule ").partition(": ")
        if rule not in GOOD_MANNERS:
            raise Problem("rule", what=" ".join(found.split())[:300])
        return rule
    return ""


def limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, OSError, ValueError):
        pass  # a system without such limits


def main(name: str, path: str, result: str) -> None:
    import numpy as np

    limit_memory()
    np.seterr(all="ignore")
    output = Counting()
    sys.stdout = sys.stderr = output
    try:
        verdict = judge(name, Path(path))
    except BaseException as error:  # ours, not theirs: the parent says so in a line
        verdict = {"ok": False, "problem": "unexpected", "values": {"what": f"{type(error).__name__}: {error}"[:300]}}
    verdict |= {"lines": output.lines, "first": output.first.partition("\n")[0][:80]}
    partial = Path(f"{result}.part")
    partial.write_text(json.dumps(verdict), encoding="utf-8")
    partial.replace(result)
    os._exit(0)  # threads or exit handlers of the learner's file have no say in how this ends


if __name__ == "__main__":
    main(*sys.argv[1:4])
