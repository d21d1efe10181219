"""The book: what is generated is current, both languages go together, links, commands and formulas work.

Everything runs in one process, and each example once.
"""

import functools
import html
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from exercises.catalog import NAMES
from tests.support import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from book import build

BOOK = ROOT / "docs" / "book"
PAGES = build.pages()
ENGLISH = sorted(path.name for path in PAGES if path.parent.name == "en")
FENCED = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2$", re.M | re.S)
INLINE = re.compile(r"(?<![\\$])\$(?![\s$])((?:[^$\n]|\n(?!\n))+?)(?<!\s)\$(?!\$)")
DISPLAY = re.compile(r"^\$\$(.+?)\$\$$", re.M | re.S)
named = pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def prose_of(path: Path) -> str:
    """The page without its blocks of code, and without code in a line."""
    return re.sub(r"`[^`\n]+`", "``", FENCED.sub("", text_of(path)))


def headings(path: Path) -> list[str]:
    return re.findall(r"^#+ .+", FENCED.sub("", text_of(path)), re.M)


def anchor(heading: str) -> str:
    """The name that GitHub gives to a heading: small letters, hyphens for spaces, no other signs."""
    words = re.sub(r"[`*$]|\[|\]\([^)]*\)", "", heading.lstrip("# ").strip().lower())
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@pytest.mark.slow
def test_every_page_and_figure_is_current():
    stale = build.build(PAGES, check=True)
    assert not stale, "\n".join([*stale, "to write them anew: python docs/book/build.py"])


def test_every_figure_is_shown():
    shown = set(re.findall(r"figures/([\w-]+\.svg)", "".join(text_of(path) for path in PAGES)))
    assert {path.name for path in (BOOK / "figures").glob("*")} == shown


def test_every_result_is_used():
    used = "".join(path.read_text(encoding="utf-8") for path in (BOOK / "examples").glob("*.py"))
    for path in (BOOK / "results").glob("*"):
        assert path.stem in used, f"no example reads {path.name}"


@pytest.mark.parametrize("name", ENGLISH)
def test_both_languages_have_the_same(name):
    english, chinese = BOOK / "en" / name, BOOK / "zh" / name
    assert chinese.is_file(), f"there is no Chinese {name}"
    assert [h.split()[0] for h in headings(english)] == [h.split()[0] for h in headings(chinese)], "headings"
    generated = [re.findall(r"<!-- (\w+: [\w./]+)", text_of(path)) for path in (english, chinese)]
    assert sorted(generated[0]) == sorted(generated[1]), "what is generated"


def test_no_chinese_page_stands_alone():
    assert sorted(path.name for path in PAGES if path.parent.name == "zh") == ENGLISH


@named
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if "://" in target:
            continue
        name, _, part = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        assert to.exists(), f"{target}: no such file"
        assert to.is_relative_to(ROOT)
        if part:
            assert part in map(anchor, headings(to)), f"{target}: no such heading"


def commands(path: Path) -> list[list[str]]:
    """The Python commands of a page: lines that begin with `python` in ```console and bare blocks, as words."""
    found = []
    for _, _, kind, body in FENCED.findall(text_of(path)):
        if kind in ("", "console", "bash"):
            joined = body.replace("\\\n", " ")
            lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
            found += [shlex.split(line, comments=True) for line in lines if line.startswith("python ")]
    return found


@named
def test_commands_are_there(path):
    for words in commands(path):
        if words[1] == "-m":
            assert importlib.util.find_spec(words[2]), f"{' '.join(words)}: no module {words[2]}"
            if words[2] == "exercises" and words[3:4] in (["start"], ["check"]):
                assert words[4] in NAMES, f"{' '.join(words)}: no such exercise"
        elif words[1] != "-c":
            assert (ROOT / words[1]).is_file(), f"{' '.join(words)}: no file {words[1]}"


@pytest.mark.slow
def test_flags_of_commands_are_known():
    wanted = {}
    for path in PAGES:
        for words in commands(path):
            program = tuple(words[1 : 3 if words[1] == "-m" else 2])
            flags = {word.partition("=")[0] for word in words if word.startswith("--")}
            if flags and program != ("-c",):
                wanted.setdefault(program, set()).update(flags)
    for program, flags in wanted.items():
        command = [sys.executable, *program, "--help"]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
        missing = {flag for flag in flags if not re.search(rf"{re.escape(flag)}\b", said)}
        assert not missing, f"{' '.join(program)} does not know {missing}"


@named
def test_formulas_survive_markdown(path):
    """GitHub reads Markdown before formulas: an underscore may become italics, a backslash before a sign is taken away,
    and < begins a tag. So what Markdown alone makes of the page must have every formula in it, unchanged."""
    page = MarkdownIt("commonmark").enable("table").render(text_of(path))
    plain = html.unescape(re.sub(r"<[^>]+>", "", page))
    prose = prose_of(path)
    for formula in [*DISPLAY.findall(prose), *INLINE.findall(DISPLAY.sub("", prose))]:
        assert f"${formula}$" in plain, f"${formula}$ does not survive: use other words for it, or a ```math block"
        assert "<" not in formula, f"${formula}$: use \\lt"


@named
def test_formulas_are_seen_by_github(path):
    """An opening $ is one after a space alone, not after 。 or (; a closing one may not be followed by a letter."""
    prose = re.sub(r"<!--.*?-->", "", DISPLAY.sub("", prose_of(path)))
    for match in INLINE.finditer(prose):
        before, after = prose[: match.start()][-1:], prose[match.end() :][:1]
        assert not before.strip(), f"a space is missing before {match[0]}"
        assert not after.isalnum(), f"a space is missing after {match[0]}"
    left = INLINE.sub("", prose)
    assert "$" not in left, f"a lonely $ in: {next(line for line in left.splitlines() if '$' in line)}"


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent.name == "zh"], ids=lambda path: path.stem)
def test_chinese_lines_are_not_broken(path):
    """A line end becomes a space, which Chinese does not have: one line a paragraph."""
    assert not re.search(r"[\u3000-\u9fff\uff00-\uffef]\n[\u3000-\u9fff\uff00-\uffef]", prose_of(path))
