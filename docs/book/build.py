"""Writes what is generated in the book's pages: code, output, numbers and figures. The rest there is written by hand.

    python docs/book/build.py                    write all pages and figures anew, in place
    python docs/book/build.py docs/book/en/02-linear.md        these pages alone
    python docs/book/build.py --check            change nothing; name what is stale, with exit code 1
    python docs/book/build.py --measure NAME     run the slow function NAME of examples/, and keep what it returns

A page is its own source. What stands between a comment that says what belongs there and `<!-- end -->` is written by
this program:

    <!-- code: PATH NAME ... -->            the source of these classes, functions, methods or constants of a file,
                                            below a line that links to it; without a NAME, all of it
    <!-- code: PATH NAME from "a" to "b" -->    the first line that contains a, to the next that contains b
    <!-- output: MODULE.FUNCTION -->        what the function of examples/MODULE.py prints
    <!-- output: MODULE.FUNCTION with code -->  its source, then that
    <!-- value: MODULE.FUNCTION -->         what it returns, as text: within a line, or as a block, such as a formula
    <!-- figure: MODULE.FUNCTION "alt" -->  the matplotlib figure that it returns, as figures/MODULE-FUNCTION.svg; `alt`
                                            says what is seen (else the function's docstring does)

A function that has a parameter `lang` is given "en" or "zh", the folder of the page; figures are in English.
"""

import argparse
import ast
import contextlib
import functools
import importlib
import inspect
import io
import os
import re
import sys
import textwrap
import traceback
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # nanograd and gpt of this checkout, whatever is installed
import nanograd  # noqa: F401  first: where NumPy is missing, it has imports end in one line

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder is the package `book`

import matplotlib
import numpy as np

from book.drawing import STYLE, fingerprint, mark_of, svg_of
from book.measured import write_measured

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parents[1]
LANGUAGES = "en", "zh"
COMMENT = re.compile(r"<!--\s*(end|\w+:.*?)\s*-->")
CODE = re.compile(r'(?P<path>\S+)(?P<names>(?: [\w.]+)*?)(?: from "(?P<first>.+?)" to "(?P<last>.+?)")?')
FUNCTION = re.compile(r"(\w+)\.(\w+)")
FENCES = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".js": "javascript", ".toml": "toml", ".sh": "bash"}
ROOM = {"precision": 4, "suppress": True, "linewidth": 100}  # how NumPy prints arrays in outputs


class BookError(Exception):
    """Something in a page or an example is wrong; one line that says where."""


def shown(path: Path) -> str:
    return Path(os.path.relpath(path, ROOT)).as_posix()


# Code


@functools.cache
def source_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def find(tree: ast.AST, name: str) -> ast.AST | None:
    """The definition of `name` ("Class.method") in a module: a class, function, method, or an assignment."""
    node = tree
    for part in name.split("."):
        for child in getattr(node, "body", []):
            names = [getattr(child, "name", None)]
            if isinstance(child, ast.Assign | ast.AnnAssign):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            if part in names:
                node = child
                break
        else:
            return None
    return node


def definition(path: Path, name: str) -> str:
    source = source_of(path)
    if path.suffix in (".cu", ".cuh"):
        return kernel(path, name)
    node = find(ast.parse(source), name)
    if node is None:
        raise BookError(f"{shown(path)} has no {name}")
    start = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return textwrap.dedent("\n".join(source.splitlines()[start - 1 : node.end_lineno]))


def kernel(path: Path, name: str) -> str:
    """A function of a CUDA file, with the comment and the template above it; it ends with the first line that is }."""
    lines = source_of(path).splitlines()
    start = next((i for i, line in enumerate(lines) if re.search(rf"\b__(global|device)__ .*\b{name}\(", line)), None)
    if start is None:
        raise BookError(f"{shown(path)} has no {name}")
    end = lines.index("}", start)
    while start and lines[start - 1].startswith(("template", "//")):
        start -= 1
    return "\n".join(lines[start : end + 1])


def piece(text: str, first: str, last: str, where: str) -> str:
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if first in line), None)
    if start is None:
        raise BookError(f'{where} has no line with "{first}"')
    end = next((i for i, line in enumerate(lines[start:], start) if last in line), None)
    if end is None:
        raise BookError(f'{where} has no line with "{last}" from "{first}" on')
    return textwrap.dedent("\n".join(lines[start : end + 1]))


def fenced(text: str, kind: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"


def code(page: Path, argument: str) -> str:
    match = CODE.fullmatch(argument)
    if not match:
        raise BookError(f'code: {argument}: expected PATH NAME ... or PATH NAME from "a" to "b"')
    path, names = ROOT / match["path"], match["names"].split()
    if not path.is_file():
        raise BookError(f"there is no file {match['path']}")
    text = "\n\n\n".join(definition(path, name) for name in names) if names else source_of(path)
    if match["first"]:
        text = piece(text, match["first"], match["last"], f"{match['path']} {' '.join(names)}".strip())
    link = f"[{match['path']}]({Path(os.path.relpath(path, page.parent)).as_posix()})"
    kind = FENCES.get(path.suffix, "text")
    if not names:
        return f"{link}\n\n{fenced(text, kind)}"
    listed = [f"`{name}`" for name in names]
    if page.parent.name == "zh":
        line = f"{link} 中的 {'、'.join(listed)}："
    else:
        line = f"{', '.join(listed)} in {link}:"
    return f"{line}\n\n{fenced(text, kind)}"


# Examples


def function_of(name: str) -> types.FunctionType:
    match = FUNCTION.fullmatch(name)
    if not match:
        raise BookError(f"{name}: expected MODULE.FUNCTION of docs/book/examples/")
    path = BOOK / "examples" / f"{match[1]}.py"
    if not path.is_file():
        raise BookError(f"there is no example file {shown(path)}")
    try:
        module = importlib.import_module(f"book.examples.{match[1]}")
    except Exception as error:
        raise BookError(f"{shown(path)} cannot be imported: {told(error)}") from error
    function = vars(module).get(match[2])
    if not inspect.isfunction(function):
        raise BookError(f"{shown(path)} has no function {match[2]}")
    return function


def told(error: BaseException) -> str:
    """An error of an example in one line: where in the book's or the repository's files, and what."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(BOOK / "examples")]
    line = f"line {places[-1].lineno}: " if places else ""
    return " ".join(f"{line}{type(error).__name__}: {error}".split())


@functools.cache
def run(name: str, lang: str):
    """(what the example returns, what it prints)."""
    function = function_of(name)
    arguments = [lang] if "lang" in inspect.signature(function).parameters else []
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), np.printoptions(**ROOM), matplotlib.rc_context(STYLE):
            return function(*arguments), printed.getvalue()
    except Exception as error:
        module, _, called = name.partition(".")
        raise BookError(f"docs/book/examples/{module}.py: {called}() failed: {told(error)}") from error


def output(page: Path, argument: str) -> str:
    name, with_code, rest = argument.partition(" with code")
    if rest:
        raise BookError(f'output: {argument}: expected MODULE.FUNCTION, or MODULE.FUNCTION "with code"')
    printed = run(name, page.parent.name)[1].rstrip()
    if not printed:
        raise BookError(f"{name}() prints nothing")
    text = fenced("\n".join(line.rstrip() for line in printed.splitlines()), "text")
    if with_code:
        module, _, function = name.partition(".")
        text = fenced(definition(BOOK / "examples" / f"{module}.py", function), "python") + "\n\n" + text
    return text


def value(page: Path, argument: str) -> str:
    result = run(argument, page.parent.name)[0]
    if result is None:
        raise BookError(f"{argument}() returns nothing")
    return str(result).strip()


def figure(page: Path, argument: str) -> str:
    name, _, alt = argument.partition(" ")
    drawn = run(name, "en")[0]
    if not isinstance(drawn, matplotlib.figure.Figure):
        raise BookError(f"{name}() returns no figure")
    path = figure_path(name)
    if mark_of(path) != fingerprint(drawn):
        figures[path] = drawn
    alt = alt.strip('" ') or (function_of(name).__doc__ or "").strip().partition("\n")[0]
    return f"![{alt}]({Path(os.path.relpath(path, page.parent)).as_posix()})"


def figure_path(name: str) -> Path:
    return BOOK / "figures" / f"{name.replace('.', '-')}.svg"


figures: dict[Path, matplotlib.figure.Figure] = {}  # those whose files are not as they were drawn now

DIRECTIVES = {"code": code, "output": output, "value": value, "figure": figure}


# Pages


def build_page(path: Path) -> tuple[str, str, list[tuple[int, str]]]:
    """(the page as it is, as it should be, [(line, what is stale there)]). Raises BookError."""
    text = path.read_text(encoding="utf-8")
    made, stale, done, opened = [], [], 0, None
    for match in COMMENT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        at = f"{shown(path)}:{line}"
        if match[1] == "end":
            if opened is None:
                raise BookError(f"{at}: an end without a beginning")
            content = generate(path, opened[0], opened[2], at=f"{shown(path)}:{opened[1]}")
            if text[done : match.start()] != content:
                stale.append((opened[1], opened[0]))
            made.append(content)
            done, opened = match.start(), None
            continue
        if opened is not None:
            raise BookError(f"{shown(path)}:{opened[1]}: {opened[0]} has no <!-- end -->")
        before = text[: match.start()].rpartition("\n")[2]
        alone = not before.strip() and text[match.end() :].partition("\n")[0].strip() == ""
        if not alone and not before.strip():
            raise BookError(f"{at}: a line may not begin with a comment, as GitHub takes the line for HTML: reflow it")
        made.append(text[done : match.end()])
        done, opened = match.end(), (match[1], line, alone)
    if opened is not None:
        raise BookError(f"{shown(path)}:{opened[1]}: {opened[0]} has no <!-- end -->")
    return text, "".join([*made, text[done:]]), stale


def generate(page: Path, directive: str, block: bool, at: str) -> str:
    kind, _, argument = directive.partition(":")
    if kind not in DIRECTIVES:
        raise BookError(f"{at}: unknown directive {kind!r}: one of {', '.join(DIRECTIVES)}")
    try:
        content = DIRECTIVES[kind](page, argument.strip())
    except BookError as error:
        raise BookError(f"{at}: {error}") from error
    if not block and (kind != "value" or "\n" in content):
        raise BookError(f"{at}: {directive} needs a line of its own")
    if content.startswith("$") and not block:
        content = f" {content}"  # GitHub knows a formula by the space before it
    return f"\n{content}\n" if block else content


def pages() -> list[Path]:
    return [path for lang in LANGUAGES for path in sorted((BOOK / lang).glob("*.md"))]


def build(paths: list[Path], check: bool = False) -> list[str]:
    """Write pages and figures, or with `check` only look. Returns a line for each thing that was stale or is wrong."""
    said, wrong = [], False
    figures.clear()
    for path in paths:
        try:
            old, new, stale = build_page(path)
        except BookError as error:
            said.append(str(error))
            wrong = True
            continue
        said += [f"{shown(path)}:{line}: {what} is stale" for line, what in stale]
        if old != new and not check:
            path.write_text(new, encoding="utf-8", newline="\n")
    for path, drawn in figures.items():
        said.append(f"{shown(path)} is stale")
        if not check:
            path.parent.mkdir(exist_ok=True)
            with matplotlib.rc_context(STYLE):
                path.write_text(svg_of(drawn), encoding="utf-8", newline="\n")
    if wrong and not check:
        raise BookError("\n".join(line for line in said if not line.endswith(" is stale")))
    return said


def measure(name: str) -> None:
    print(f"measuring {name}", flush=True)
    with matplotlib.rc_context(STYLE):
        try:
            result = function_of(name)()
        except Exception as error:
            raise BookError(f"{name}() failed: {told(error)}") from error
    print(f"wrote {shown(write_measured(name, result))}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write what is generated in the book's pages.")
    parser.add_argument("pages", nargs="*", type=Path, help="pages to write (default: all)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if anything is stale")
    parser.add_argument("--measure", metavar="NAME", help="run this slow function of examples/, and keep its result")
    flags = parser.parse_args()
    for path in flags.pages:
        if not path.is_file():
            parser.error(f"there is no page {path}")
    try:
        if flags.measure:
            measure(flags.measure)
            return 0
        lines = build([path.resolve() for path in flags.pages] or pages(), check=flags.check)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    for line in lines:
        print(line if flags.check else line.replace(" is stale", " was written anew"))
    if flags.check and lines:
        print("to write them anew: python docs/book/build.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
