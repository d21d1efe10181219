"""The table of survivors stays true to the source, and the command tells what is not in it."""

import sys

import pytest

from tests.proofs import mutants, systematic
from tests.proofs.systematic import Key

SOURCE = """
import functools

LIMIT = 3


class A:
    @functools.cache
    def f(self, x):
        return [
            x + 1
        ]


    def g(self): return 2
"""


def text_within(file, place):
    source = (mutants.ROOT / file).read_text(encoding="utf-8")
    lines = zip(source.splitlines(), systematic.places(source), strict=True)
    return " ".join(line.strip() for line, name in lines if f"{name}.".startswith(f"{place}." if place else ""))


def test_every_survivor_is_argued_and_its_line_is_in_the_source():
    table = systematic.read_table()
    assert len(table) > 50
    files = systematic.files()
    for key, why in table.items():
        assert key.file in files and key.line != key.mutant, key
        assert len(why.split()) > 3, f"{key} is not argued"
        assert key.line in text_within(key.file, key.within), f"{key}: the source has moved on"


def test_every_survivor_has_an_entry_of_its_own():
    text = systematic.TABLE.read_text(encoding="utf-8")
    assert text.count("\nwhy = ") == len(systematic.read_table())


@pytest.mark.parametrize(
    ("old", "new", "within", "line", "mutant"),
    [
        ("LIMIT = 3", "LIMIT = 4", "", "LIMIT = 3", "LIMIT = 4"),
        ("    @functools.cache\n", "", "A.f", "@functools.cache", ""),
        ("x + 1", "x - 1", "A.f", "x + 1", "x - 1"),
        ("return 2", "return 3", "A.g", "def g(self): return 2", "def g(self): return 3"),
    ],
)
def test_how_a_mutant_is_known(old, new, within, line, mutant):
    assert systematic.key_of("a.py", SOURCE, SOURCE.replace(old, new)) == Key("a.py", within, line, mutant)


def test_a_copy_is_tested_by_its_own_tests(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # as warm_up does
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "__init__.py").write_text("WHERE = 'the copy'\n")
    (tests / "conftest.py").write_text("from hypothesis import settings\nsettings.register_profile('mutants')\n")
    for where, outcome in (("the copy", "survived"), ("elsewhere", "killed")):
        (tests / "test_it.py").write_text(f"from tests import WHERE\ndef test_it(): assert WHERE == {where!r}\n")
        assert mutants.verdict("", "", ("tests/test_it.py",), root=tmp_path)[0] == outcome


def test_a_table_is_read_as_it_is_written(tmp_path, monkeypatch):
    keys = [Key("a.py", "f", 'say("it\'s") + "\\n"', "x"), Key("b.py", "", "'''", ""), Key("a.py", "g", "'", '"')]
    monkeypatch.setattr(systematic, "TABLE", tmp_path / "table.toml")
    systematic.append(keys[:2], tmp_path / "table.toml")
    systematic.append(keys[2:], tmp_path / "table.toml")
    assert systematic.read_table() == dict.fromkeys(keys, "")


LISTED, NEW, KILLED = (Key("nanograd/device/rng.py", "f", name, "") for name in ("listed", "new", "killed"))


def run(monkeypatch, capsys, found, outcomes):
    """main() where every mutant in `found` gets the outcome of that number, and LISTED alone is in the table."""
    monkeypatch.setattr(systematic, "systematic", lambda file, source, operators: [(key, key.line) for key in found])
    monkeypatch.setattr(systematic, "read_table", lambda: {LISTED: "why"})
    monkeypatch.setattr(mutants, "warm_up", lambda: None)
    monkeypatch.setitem(sys.modules, "cosmic_ray", object())
    monkeypatch.setitem(sys.modules, "cosmic_ray.mutating", object())

    class Trees:
        def __init__(self, folder, n): ...

        def verdict(self, file, source, tests, limit):
            return outcomes.get(source, "survived"), ""

    monkeypatch.setattr(systematic, "Trees", Trees)
    code = systematic.main(["nanograd/device/rng.py"])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcomes", "code", "says"),
    [
        ({"new": "killed"}, 0, "2 mutants, 1 killed, 0 do not import or end, 1 alive"),
        ({"new": "broken"}, 0, "2 mutants, 0 killed, 1 do not import or end, 1 alive"),
        ({}, 1, "alive, not in the table: nanograd/device/rng.py, f"),
        ({"new": "killed", "listed": "broken"}, 0, "2 mutants, 1 killed, 1 do not import or end, 0 alive"),
        ({"new": "killed", "listed": "killed"}, 1, "killed, yet in the table: nanograd/device/rng.py, f"),
    ],
)
def test_what_is_not_as_the_table_says_fails(monkeypatch, capsys, outcomes, code, says):
    found, printed = run(monkeypatch, capsys, [LISTED, NEW], outcomes)
    assert found == code and says in printed


def test_tests_that_fail_without_a_mutant_prove_nothing(monkeypatch, capsys):
    code, _ = run(monkeypatch, capsys, [KILLED], {"": "killed"})
    assert code == 1


def test_the_tool_is_asked_for_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cosmic_ray", None)
    assert systematic.main([]) == 2
    assert capsys.readouterr().err == "error: this needs the package cosmic-ray: pip install cosmic-ray\n"


def test_a_file_that_is_not_mutated_is_a_mistake(capsys):
    assert systematic.main(["nanograd/nothing.py"]) == 2
    assert capsys.readouterr().err.startswith("error: nanograd/nothing.py is not one of nanograd/")


def test_every_file_has_tests_that_can_notice():
    for file in systematic.files():
        assert systematic.killers(file) or file.endswith("__init__.py"), file
