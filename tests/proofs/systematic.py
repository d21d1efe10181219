"""Break the source in every place, with cosmic-ray's operators: `python -m tests.proofs.systematic`.

It needs cosmic-ray (pip install cosmic-ray).

    python -m tests.proofs.systematic                           all of nanograd/ and gpt/model.py: hours
    python -m tests.proofs.systematic nanograd/device/rng.py         some files
    python -m tests.proofs.systematic --operators Number,Loop   operators with one of these in their name
    python -m tests.proofs.systematic --write FILE              also append what is alive and not in the table to it

What no test notices must be in data/survivors.toml, each with the reason why, and nothing else may be: exit code 1
otherwise. A survivor is known by its file, the function around it, and its line before and after; so the table stays
true while the source around a line moves, and test_systematic.py fails for an entry whose line is gone.

Each mutant is run as those of mutants.py are, but in a copy of the repository, so that processes which the tests
start see it too. One that does not end in several times the time of the unchanged source is stopped and counts as
noticed, as does one that does not import.
"""

import argparse
import ast
import difflib
import itertools
import os
import queue
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.proofs import mutants

TABLE = mutants.ROOT / "tests" / "proofs" / "survivors.toml"
# One other operator for each arithmetic one, two for each comparison: nearly every test that notices a `-` for a `+`
# notices a `/` too, and all pairs would be nine times as many. `|` and `^` join types, sets and dictionaries here.
OPERATORS = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Div", "Mod_Mul", "Delete_USub", "Delete_Not"),
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
    *("Is_IsNot", "IsNot_Is", "AddNot", "TrueWithFalse", "FalseWithTrue", "AndWithOr", "OrWithAnd"),
    *("BreakWithContinue", "ContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator"),
    "ZeroIterationForLoop",
)
# The test files that have to notice, after a file's own.
LAYER = ("reference/pytorch",)  # PyTorch's recorded values
ALSO = {
    "nanograd/device/device.py": (
        "layers/embedding",
        "layers/linear",
        "gpt/model",
        "device/gemm",
    ),
    "nanograd/device/parameter.py": ("device/partial_sums", "layers/layer", "layers/linear", "public_face"),
    "nanograd/gradcheck/recording.py": ("gradcheck/facts",),
    "nanograd/layers/layer.py": ("layers/linear", "layers/embedding", "parallel/data_parallel", "public_face"),
    "nanograd/optim/arena.py": ("optim/adamw", "parallel/data_parallel"),
    "nanograd/device/threads.py": ("parallel/data_parallel",),
    "nanograd/device/rng.py": ("layers/dropout", "layers/attention"),
    "nanograd/parallel/communicator.py": ("gpt/training/mpi",),
    "nanograd/parallel/world.py": ("parallel/communicator", "gpt/training/mpi"),
    "nanograd/parallel/mpi_ranks.py": ("parallel/communicator", "gpt/training/mpi"),
    "nanograd/parallel/nccl_ranks.py": ("parallel/communicator",),
    "nanograd/device/cuda.py": ("device/device", "doctor"),
    "nanograd/reference/training.py": ("reference/gradients", "reference/pins", "first_steps"),
    "nanograd/device/gemm.py": ("device/device",),
    "nanograd/anomaly.py": ("gpt/training/anomaly",),
    "nanograd/layers/dropout.py": (*LAYER, "layers/layer"),
    "nanograd/layers/embedding.py": (*LAYER, "layers/layer"),
    "nanograd/layers/linear.py": (*LAYER, "layers/mlp", "gpt/model"),
    "nanograd/layers/mlp.py": (*LAYER, "layers/layer", "gpt/model"),
    "nanograd/layers/activations.py": (*LAYER, "gpt/sampling/kv_cache", "gpt/sampling/sliding_window"),
    "nanograd/layers/attention.py": (*LAYER, "layers/layer", "gpt/model"),
    "nanograd/layers/residual.py": (*LAYER, "layers/linear", "layers/mlp", "gpt/model"),
}
CHECK = ("gradcheck/check",)  # after the own tests of nanograd/gradcheck/
PLAIN = ("reference/gradients", "reference/pins")
TWINS = (
    "tests/kernels/test_launching.py",
    "tests/kernels/test_kernels.py",
    "tests/kernels/test_attention_kernels.py",
    "tests/kernels/test_attention_launching.py",
)  # for kernels/*.py, and where a @fused is removed
# What PyTorch's recorded values test.
RECORDED = ("nanograd/layers/", "nanograd/optim/adamw.py", "nanograd/device/elementwise.py", "gpt/model.py")
RECORDED += ("nanograd/device/reductions.py",)


@dataclass(frozen=True)
class Key:
    file: str
    within: str  # the function or class around it, "" outside of all
    line: str  # its lines without the space around them
    mutant: str


def files() -> list[str]:
    found = (mutants.ROOT / "nanograd").rglob("*.py")
    return [*sorted(path.relative_to(mutants.ROOT).as_posix() for path in found), "gpt/model.py"]


def folder_and_name(name: str) -> str:
    folder, _, stem = name.rpartition("/")
    return f"{folder}/test_{stem}.py" if folder else f"test_{stem}.py"


def killers(file: str, line: str = "") -> tuple[str, ...]:
    """The test files that have to notice a mutant of this line of a file, in the order in which they are run."""
    if "/kernels/" in file:
        return TWINS
    usual = LAYER if file.startswith(RECORDED) else CHECK if "/gradcheck/" in file else ()
    usual = PLAIN if "/reference/" in file else usual
    own = (*mutants.own_tests(file), *(f"tests/{folder_and_name(name)}" for name in ALSO.get(file, usual)))
    paths = dict.fromkeys(own)
    fused = TWINS if line.startswith("@fused") else ()
    return (*(path for path in paths if (mutants.ROOT / path).exists()), *fused)


def read_table() -> dict[Key, str]:
    """{survivor: the reason why no test can notice it}."""
    with open(TABLE, "rb") as table:
        entries = [(file, entry) for file, entries in tomllib.load(table).items() for entry in entries]
    return {Key(file, entry["in"], entry["line"], entry["mutant"]): entry["why"] for file, entry in entries}


def places(source: str) -> list[str]:
    """For each line of `source`, the dotted name of the function or class around it, decorators included."""
    names = [""] * len(source.splitlines())

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}" if prefix else child.name
                first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                names[first - 1 : child.end_lineno] = [name] * (child.end_lineno - first + 1)
                walk(child, name)
            else:
                walk(child, prefix)

    walk(ast.parse(source), "")
    return names


def key_of(file: str, source: str, mutant: str) -> Key:
    before, after = source.splitlines(), mutant.splitlines()
    changes = [c for c in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if c[0] != "equal"]
    first = next((line for _, a, b, _, _ in changes for line in range(a, b) if before[line].strip()), changes[0][1])
    old = " ".join(" ".join(line.strip() for line in before[a:b]) for _, a, b, _, _ in changes)
    new = " ".join(" ".join(line.strip() for line in after[a:b]) for _, _, _, a, b in changes)
    return Key(file, places(source)[first], old.strip(), new.strip())


def systematic(file: str, source: str, operators: tuple[str, ...]) -> Iterator[tuple[Key, str]]:
    """(key, changed source) of every mutant of a file: those that are another program, each once."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    seen = {ast.dump(ast.parse(source))}
    for name in plugins.operator_names():
        short = name.rpartition("/")[2]
        if not short.endswith(OPERATORS) or not any(part in short for part in operators):
            continue
        operator = plugins.get_operator(name)()
        for occurrence in itertools.count():
            try:
                mutant = mutate_code(source, operator, occurrence)
                program = ast.dump(ast.parse(mutant or ""))
            except (AttributeError, SyntaxError):  # cosmic-ray 8.7 trips over `except module.Error`
                continue
            if mutant is None:
                break
            if program not in seen:
                seen.add(program)
                yield key_of(file, source, mutant), mutant


class Trees:
    """Copies of the repository, one for each process at a time."""

    def __init__(self, folder: str, n: int):
        self.free = queue.SimpleQueue()
        for number in range(n):
            root = Path(folder) / str(number)
            shutil.copytree(mutants.ROOT, root, ignore=shutil.ignore_patterns(".git", "out", "__pycache__"))
            self.free.put(root)

    def verdict(self, file: str, source: str, tests: tuple[str, ...], limit: float) -> tuple[str, str]:
        root = self.free.get()
        path = root / file
        original = path.read_text(encoding="utf-8")
        try:
            path.write_text(source or original, encoding="utf-8")
            return mutants.verdict("", "", tests, root=root, limit=limit)
        finally:
            path.write_text(original, encoding="utf-8")
            self.free.put(root)


def append(keys: list[Key], path: Path) -> None:
    with open(path, "a", encoding="utf-8") as file:
        for key in keys:
            values = {"in": key.within, "line": key.line, "mutant": key.mutant, "why": ""}
            lines = (f"{name} = {_quoted(text)}\n" for name, text in values.items())
            file.write(f'\n[["{key.file}"]]\n' + "".join(lines))


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs.systematic", description=__doc__.partition(":")[0] + "."
    )
    parser.add_argument("files", nargs="*", metavar="FILES", help="source files (default: all of them)")
    parser.add_argument("--operators", default="", metavar="NAMES", help="only operators with one of these in a name")
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants with this in a line, before or after")
    parser.add_argument("--alive", action="store_true", help="only those in the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="append survivors that are not in the table")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: %(default)s)")
    options = parser.parse_args(arguments)
    unknown = [file for file in options.files if file not in files()]
    if unknown:
        print(f"error: {unknown[0]} is not one of {', '.join(files())}", file=sys.stderr)
        return 2
    try:
        import cosmic_ray.mutating  # noqa: F401
    except ImportError:
        print("error: this needs the package cosmic-ray: pip install cosmic-ray", file=sys.stderr)
        return 2
    table, totals, bad = read_table(), Counter(), 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # its name tells two mutants of one size and second not apart
        trees = Trees(folder, options.jobs)
        mutants.warm_up()
        sources = {file: (mutants.ROOT / file).read_text(encoding="utf-8") for file in options.files or files()}
        for file, source in sources.items():
            found = list(systematic(file, source, tuple(options.operators.split(","))))
            found = [(k, s) for k, s in found if options.only in f"{k.line}\n{k.mutant}"]
            found = [(k, s) for k, s in found if k in table or not options.alive]
            if found:
                bad += run_file(file, found, table, trees, pool, totals, options.write)
    print(_line("all", totals))
    return 1 if bad else 0


def run_file(file: str, found, table, trees: Trees, pool, totals: Counter, write: Path | None) -> int:
    """Run the mutants `found` of a file, print what is not as the table says, and return how many those are."""
    tests = {key.line: killers(file, key.line) for key, _ in found}
    start = time.perf_counter()
    outcome, by = trees.verdict(file, "", max(tests.values(), key=len), mutants.LIMIT)
    if outcome != "survived":
        print(f"error: {file}: its tests fail on the unchanged source: {by}", file=sys.stderr)
        return 1
    limit = 20 + 5 * (time.perf_counter() - start)
    judged = pool.map(lambda pair: (pair[0], *trees.verdict(file, pair[1], tests[pair[0].line], limit)), found)
    results, alive, killed = Counter(), set(), set()
    for key, outcome, _ in judged:
        results[outcome] += 1
        if outcome == "survived":
            alive.add(key)
            if key not in table:
                _tell("alive, not in the table", key)
        elif outcome == "killed" and key in table:  # one that does not end may be slow, on a slow machine
            killed.add(key)
    new, killed = alive - set(table), killed - alive
    for key in killed:
        _tell("killed, yet in the table", key)
    if write:
        append(sorted(new, key=lambda key: (key.within, key.line, key.mutant)), write)
    print(_line(file, results), flush=True)
    totals.update(results)
    return len(new) + len(killed)


def _tell(what: str, key: Key) -> None:
    print(f"{what}: {key.file}, {key.within}\n  - {key.line}\n  + {key.mutant}", flush=True)


def _line(name: str, results: Counter) -> str:
    n, alive = results.total(), results["survived"]
    return f"{name}: {n} mutants, {results['killed']} killed, {results['broken']} do not import or end, {alive} alive"


if __name__ == "__main__":
    sys.exit(main())
