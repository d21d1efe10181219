"""README.md and README.zh-CN.md keep in step, and what they and docs/ show works: links, commands, code."""

import importlib.util
import re
import shlex
import tomllib
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from exercises.catalog import NAMES
from gpt.cli import command_line
from gpt.evaluate import EvaluateConfig
from gpt.pictures import PicturesConfig
from tests.support import ROOT

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [ENGLISH, CHINESE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"\d[\d,.]*\d(?:e-?\d+)?|\d(?:e-?\d+)?")
named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ .+", FENCED.sub("", text_of(page)), re.M)


def anchor(heading: str) -> str:
    """GitHub's name for a heading: small letters, hyphens for spaces, no other signs."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text_of(page)))


def commands(page: Path) -> list[str]:
    """The lines of code that are commands, without comments; lines that end in a backslash go on."""
    lines = "\n".join(FENCED.findall(text_of(page))).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#.*", "", line) for line in lines if re.match(r"(python|pip|mpiexec|git) ", line)]
    return [" ".join(line.split()) for line in lines]


def inline_commands(page: Path) -> list[str]:
    found = re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(page)))
    return [code for code in found if code.startswith(("python", "pip", ".", "--"))]


def figures(page: Path) -> Counter:
    """Every number of the prose and the tables; not those in code, links and the names of models."""
    text = re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", FENCED.sub("", text_of(page)))
    return Counter(NUMBER.findall(text))


# Both languages


def test_they_link_to_each_other_in_their_first_lines():
    for page, other in (ENGLISH, CHINESE), (CHINESE, ENGLISH):
        assert f"]({other.name})" in "\n".join(text_of(page).splitlines()[:4])


def test_they_have_the_same_headings_commands_pictures_and_figures():
    levels = [[heading.split()[0] for heading in headings(page)] for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert commands(ENGLISH) == commands(CHINESE) and len(commands(ENGLISH)) > 10
    assert Counter(inline_commands(ENGLISH)) == Counter(inline_commands(CHINESE))
    assert figures(ENGLISH) == figures(CHINESE)


def test_they_link_to_the_same_places():
    def places(page):
        found = (link.replace("book/zh/", "book/en/").replace(".zh.ipynb", ".ipynb") for link in links(page))
        found = (link.replace(CHINESE.name, ENGLISH.name) for link in found)
        return Counter(link for link in found if not link.startswith("#"))

    own = Counter([ENGLISH.name])
    assert places(ENGLISH) - own == places(CHINESE) - own


def test_each_row_of_a_table_has_its_counterpart():
    rows = [
        [row.count("|") for row in text_of(page).splitlines() if row.startswith("|")] for page in (ENGLISH, CHINESE)
    ]
    assert rows[0] == rows[1]


def test_the_first_screen_is_short_and_the_whole_not_long():
    for page in ENGLISH, CHINESE:
        assert len(text_of(page).splitlines()) < 165, "reference belongs into docs/"


@pytest.mark.parametrize(
    "page", [ENGLISH, CHINESE, ROOT / "docs/checks.md", ROOT / "docs/mutation.md"], ids=lambda page: page.name
)
def test_counts_are_current(page):
    mutants = len(tomllib.loads(text_of(ROOT / "tests/proofs/mutants.toml"))["mutant"])
    assert re.search(rf"\b{mutants}\s+(classic\s+)?mistakes|{mutants} 个经典错误", text_of(page))
    if page in (ENGLISH, CHINESE):
        assert re.search(rf"{len(NAMES)}\s*(exercises|道练习)", text_of(page))


# What they show


@named
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("http"):
            continue
        path, _, fragment = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not fragment or fragment in map(anchor, headings(target)), f"{page.name}: {link}"


def test_every_page_of_docs_is_linked():
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    assert {page for page in PAGES if page.parent.name == "docs"} <= linked


@named
def test_commands_are_there_and_know_their_flags(page):
    for command in commands(page):
        for part in command.split(" && "):
            words = shlex.split(part)
            if "python" not in words:
                continue
            words = words[words.index("python") + 1 :]
            if words[:2] == ["-m", "mpi4py"]:
                words = words[2:]
            if words[0] == "-m":
                assert importlib.util.find_spec(words[1]), command
            else:
                assert (ROOT / words[0]).is_file(), command
            parse(words)


def parse(words: list[str]) -> None:
    """Raise UsageError for flags that a command does not know."""
    if words[0] == "train.py":
        command_line.parse_given(command_line.TrainConfig, words[1:], "train.py", "")
    elif words[0] == "sample.py":
        command_line.parse_sample(words[1:])
    elif words[:2] == ["-m", "gpt.pictures"]:
        command_line.parse(PicturesConfig, words[2:], "gpt.pictures")
    elif words[:2] == ["-m", "gpt.evaluate"]:
        command_line.parse(EvaluateConfig, words[2:], "gpt.evaluate")


def test_the_code_of_the_library_page_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of(ROOT / "docs" / "library.md"), re.M | re.S)
    assert len(blocks) == 3
    names = {"__name__": "example"}  # a later block goes on from an earlier one
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    *tokens, check, _ = capsys.readouterr().out.splitlines()
    assert len(tokens) == 5 and all(map(str.isdigit, tokens)) and check.startswith("Swish: ok")
