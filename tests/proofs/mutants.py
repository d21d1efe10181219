"""Plant each mistake of mutants.toml and see whether the tests notice: `python -m tests.proofs.mutants`.

    python -m tests.proofs.mutants                    the table; exit code 1 unless every mutant is killed
    python -m tests.proofs.mutants --only softmax     those with "softmax" in their mistake or file
    python -m tests.proofs.mutants --json             one JSON object a mutant
    python -m tests.proofs.mutants --record           note in killers.json which test it was

The working tree is not touched. Each mutant gets a process of its own, in which its file is imported from the
changed source and everything else as it is; pytest then runs the test files that are meant to notice. killers.json says
which test noticed the last time: it comes first, alone, and all of the files only where it does not fail, or is no
longer there. Last come the controls: the tests that failed, on the source as it is, where they must pass, or a kill
would prove nothing.

    killed      a test failed; its name is in the table
    survived    all tests passed
    stale       the text to replace is not in its file exactly once: the source has moved on, the mutant must follow
    broken      the tests could not be run, for instance because the changed source does not compile, or did not end
"""

import argparse
import importlib.machinery
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from tests.support import ROOT

LIST = ROOT / "tests" / "proofs" / "mutants.toml"
KILLERS = LIST.with_name("killers.json")
LIMIT = 180  # seconds for one mutant
OPTIONS = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-profile=mutants"]
# What makes pytest slow to start and is of no use here: other plugins, and asserts that explain themselves.
OPTIONS += ["-p", "_hypothesis_pytestplugin", "-p", "no:faulthandler", "--assert=plain", "-o", "addopts="]


@dataclass(frozen=True)
class Mutant:
    mistake: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()

    @property
    def killers(self) -> tuple[str, ...]:
        """The test files that are run against it: by default the file's own."""
        return self.tests or own_tests(self.file)


def own_tests(file: str) -> tuple[str, ...]:
    """The test files of a module: tests/layers/test_mlp.py of nanograd/layers/mlp.py, and test_mlp_*.py beside it."""
    path = Path(file.removeprefix("nanograd/"))
    folder, name = Path("tests") / path.parent, f"test_{path.stem}"
    parts = sorted((ROOT / folder).glob(f"{name}_*.py"))
    return ((folder / f"{name}.py").as_posix(), *(part.relative_to(ROOT).as_posix() for part in parts))


def read_mutants() -> list[Mutant]:
    with open(LIST, "rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


@dataclass(frozen=True)
class Result:
    mistake: str
    file: str
    outcome: str
    by: str  # the test that failed, or why there is none


class ChangedSource:
    """Imports one module from `source` in place of what its file holds."""

    def __init__(self, module: str, source: str):
        self.module, self.source = module, source

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        code = compile(self.source, spec.origin, "exec")
        spec.loader = importlib.machinery.SourceFileLoader(name, spec.origin)
        spec.loader.get_code = lambda fullname: code
        return spec


class FirstFailure:
    """A pytest plugin: which test failed."""

    name = ""

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.name:
            self.name = report.nodeid


def changed(mutant: Mutant) -> str | None:
    """The mutant's source, or None where it no longer applies."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if mutant.old == mutant.new or source.count(mutant.old) != 1:
        return None
    return source.replace(mutant.old, mutant.new)


def run_tests(module: str, source: str, tests: tuple[str, ...], root: Path, answer) -> None:
    """In a process of its own: run the test files with `module` imported from `source`; answer (exit code, test)."""
    import pytest

    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    os.chdir(root)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # those of `root` are meant, which may be a copy
    if source:
        sys.meta_path.insert(0, ChangedSource(module, source))
    failure, output = FirstFailure(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(output), redirect_stderr(output):
        # In a folder of its own: pytest's common one is cleared by whichever process comes, under another's feet.
        places = f"--rootdir={root}", f"--basetemp={folder}/tests"
        code = pytest.main([*OPTIONS, *places, *(str(root / test) for test in tests)], plugins=[failure])
    answer.send((int(code), failure.name or output.getvalue().strip().rpartition("\n")[2]))


def verdict(module: str, source: str, tests: tuple[str, ...], root: Path = ROOT, limit=LIMIT) -> tuple[str, str]:
    """("killed", by which test), ("survived", "") or ("broken", why), of the tests below `root`."""
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_tests, args=(module, source, tests, root, sender))
    process.start()
    sender.close()
    try:
        code, by = answer.recv() if answer.poll(limit) else (None, f"no end within {limit:.0f} s")
    except EOFError:
        code, by = 3, "the process died"
    if process.is_alive() and code is None:
        os.kill(process.pid, signal.SIGINT)  # so that the tests end what they have started
        process.join(5)
        process.kill()
    process.join()
    outcome = {0: "survived", 1: "killed"}.get(code, "broken")
    return outcome, "" if outcome == "survived" else by


def judge(mutant: Mutant, known: str = "") -> Result:
    """What becomes of a mutant; `known`: the test that is asked first, if it is one of the mutant's."""
    source = changed(mutant)
    if source is None:
        return Result(mutant.mistake, mutant.file, "stale", "the text to replace is not there exactly once")
    module = mutant.file.removesuffix(".py").replace("/", ".")
    outcome, by = verdict(module, source, (known,)) if known.partition("::")[0] in mutant.killers else ("", "")
    if outcome != "killed":
        outcome, by = verdict(module, source, mutant.killers)
    return Result(mutant.mistake, mutant.file, outcome, by)


def control(tests: tuple[str, ...]) -> Result:
    """Do these tests of one file pass on the source as it is?"""
    outcome, by = verdict("", "", tests)
    file = tests[0].partition("::")[0]
    return Result("control: nothing is changed", file, "passed" if outcome == "survived" else "broken", by)


def read_killers() -> dict[str, dict[str, str]]:
    """By file and mistake: the test that noticed it."""
    return json.loads(KILLERS.read_text(encoding="utf-8")) if KILLERS.exists() else {}


def record(results: list[Result]) -> None:
    """Note the tests that noticed, beside those noted before of mutants that still are."""
    before, found = read_killers(), {(r.file, r.mistake): r.by for r in results if r.outcome == "killed"}
    table: dict[str, dict[str, str]] = {}
    for mutant in sorted(read_mutants(), key=lambda mutant: (mutant.file, mutant.mistake)):
        by = found.get((mutant.file, mutant.mistake)) or before.get(mutant.file, {}).get(mutant.mistake)
        if by:
            table.setdefault(mutant.file, {})[mutant.mistake] = by
    KILLERS.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def warm_up() -> None:
    """Set up and import what every process needs and no mutant changes, once, before they part."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # two processes, one core each
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import hypothesis.strategies
    import numpy as np
    import pytest

    assert hypothesis.strategies and np and pytest
    assert not any(name.partition(".")[0] in ("nanograd", "gpt") for name in sys.modules)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.mutants", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants with this in their mistake or file")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a mutant")
    parser.add_argument("--record", action="store_true", help=f"note in {KILLERS.name} which test noticed each")
    options = parser.parse_args(arguments)
    chosen = [m for m in read_mutants() if options.only.lower() in f"{m.mistake} {m.file}".lower()]
    if not chosen:
        print(f"error: no mutant has {options.only!r} in its mistake or file", file=sys.stderr)
        return 2

    def tell(result: Result) -> None:
        print(json.dumps(asdict(result)) if options.json else _line(result), flush=True)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        warm_up()
        known, mutants = read_killers(), []
        firsts = [known.get(mutant.file, {}).get(mutant.mistake, "") for mutant in chosen]
        for result in pool.map(judge, chosen, firsts):
            mutants.append(result)
            tell(result)
        killers = sorted({result.by for result in mutants if result.outcome == "killed"})
        controls = []
        for result in pool.map(control, [tuple(g) for _, g in groupby(killers, lambda by: by.partition("::")[0])]):
            controls.append(result)
            tell(result)
    if options.record:
        record(mutants)
    killed = sum(r.outcome == "killed" for r in mutants)
    good = killed == len(mutants) and all(r.outcome == "passed" for r in controls)
    if not options.json:
        print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if good else 1


def _line(result: Result) -> str:
    return f"{result.outcome:8}  {result.file:24}  {result.mistake:52}  {result.by.rpartition('/')[2]}"


if __name__ == "__main__":
    sys.exit(main())
