"""Which files: from what a user writes after --data to paths, each file once.

What may be written, once or several times:

    nothing          the embedded English tales
    tales-zh         a name: an embedded text or a well-known one (gpt/data/known_corpora.py)
    known:tales      the same, where a file or folder of that name lies in the current folder too
    novel.txt        a file, whatever its suffix
    books/           a folder: every *.txt in it and below, in order of name; hidden ones are passed over
    'books/*.md'     a glob: the files that match, in order of name; ** matches folders too

A name that is also a path in the current folder is refused: `./tales` means the path, `known:tales` the text. A
path that exists wins over a glob of the same spelling, as do the folders that a glob begins with. Links are
followed, and within one folder or glob a file is read once, whatever names it has there. The run's own folder is
no text: what lies in it is passed over.
"""

import difflib
import errno
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt.data import known_corpora
from gpt.errors import RunError, UsageError
from gpt.utf8 import shown

KNOWN = "known:"
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def find(specs: Sequence[str], run_dir: Path | None = None, flag: str = "--data") -> list[Path]:
    """The files that `specs` name, in order. Raises UsageError for what is not there or is named twice, RunError.

    `run_dir` is the folder of the run that will read them, `flag` where the names were typed.
    """
    if not specs:
        return [known_corpora.find(known_corpora.DEFAULT)]
    found: dict[object, Path] = {}
    for spec in specs:
        for path in _once(_find(spec, run_dir, flag)):
            key = identity(path)
            if key in found:
                also = f" (also as {shown(found[key])})" if found[key] != path else ""
                raise UsageError(
                    f"{shown(path)} is given twice{also}; validation text must not be in the training text"
                )
            found[key] = path
    return list(found.values())


def identity(path: Path) -> object:
    """The same for every name of one file: links and hard links too."""
    try:
        about = os.stat(path)
    except OSError:
        return os.path.abspath(path)
    return (about.st_dev, about.st_ino) if about.st_ino else os.path.realpath(path)


def absolute_specs(specs: Sequence[str]) -> tuple[str, ...]:
    """The same texts for a command that is started in another folder: absolute paths and globs, `known:` names."""

    def absolute(spec):
        path = os.path.expanduser(spec)
        if spec.startswith(KNOWN) or known_corpora.is_known(spec):
            return KNOWN + spec.removeprefix(KNOWN)  # a path of that name may appear later
        if os.path.exists(path):
            return os.path.abspath(path)
        if glob.has_magic(spec) and not os.path.isabs(path):
            return os.path.join(glob.escape(os.getcwd()), path)
        return path if glob.has_magic(spec) else spec

    return tuple(map(absolute, specs))


def _once(paths):
    """Paths without those that are the same file as one before."""
    return list({identity(path): path for path in reversed(paths)}.values())[::-1]


def _find(spec, run_dir, flag):
    """One thing written after the flag -> the files it means."""
    if not spec:
        raise UsageError(f"{flag} is empty; give a file, folder, glob or one of: {', '.join(known_corpora.names())}")
    if spec.startswith(KNOWN):
        name = spec.removeprefix(KNOWN)
        if not known_corpora.is_known(name):
            raise UsageError(f"{flag} {shown(spec)}: no such name; names are: {', '.join(known_corpora.names())}")
        return [known_corpora.find(name)]
    path = Path(os.path.expanduser(spec))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError) and error.errno not in _ABSENT:  # a folder on the way is closed
            raise RunError(f"cannot read {shown(spec)}: {error.strerror or error}") from error
        return _find_absent(spec, path, run_dir, flag)
    own = run_dir is not None and identity(path) == identity(run_dir)
    if known_corpora.is_known(spec):
        if own:
            return [known_corpora.find(spec)]
        raise UsageError(
            f"{flag} {spec}: there is a text of that name and a file or folder here too: "
            f"give ./{spec} for what is here, or {KNOWN}{spec} for the text"
        )
    if own:
        raise UsageError(f"{flag} {shown(spec)} is the run's own folder: name the text, or another --out_dir")
    if stat.S_ISDIR(mode):
        return _texts_below(path, run_dir, flag)
    if not stat.S_ISREG(mode):
        raise UsageError(f"{flag} {shown(spec)} is a pipe or a device; the text is read more than once: give a file")
    return [path]


def _find_absent(spec, path, run_dir, flag):
    if known_corpora.is_known(spec):
        return [known_corpora.find(spec)]
    if glob.has_magic(spec):
        pattern = _plain_beginning(path)
        files = _matching(pattern, run_dir)
        if not files and "[" in pattern:  # a name with brackets in it, and other wildcards behind
            files = _matching(re.sub(r"\[(?!\[\])", "[[]", str(path)), run_dir)
        if files:
            return files
        raise UsageError(f"{flag} {shown(spec)}: no file matches this pattern")
    raise UsageError(f"{flag} {shown(spec)}: no such file, folder or name{_did_you_mean(spec, path)}")


def _plain_beginning(path: Path) -> str:
    """A glob whose first folders, as long as they are there in just that spelling, match only themselves."""
    parts = path.parts
    there = 0
    while there < len(parts) - 1 and os.path.isdir(Path(*parts[: there + 1])):
        there += 1
    return os.path.join(*(glob.escape(part) for part in parts[:there]), *parts[there:])


def _matching(pattern: str, run_dir) -> list[Path]:
    """The files that match, in order of name."""
    if "**" not in Path(pattern).parts:
        found = (Path(match) for match in glob.glob(pattern))
        own = run_dir and identity(run_dir)
        return sorted(path for path in found if is_file(path) and (not own or identity(path.parent) != own))
    # glob would follow a folder that links to one above it dozens of times
    parts = Path(pattern).parts
    first = parts.index("**")
    rest = re.compile("".join(map(_as_expression, parts[first:-1])) + _name_expression(parts[-1]) + r"\Z")
    bases = [Path(match) for match in glob.glob(os.path.join(*parts[:first]))] if first else [Path()]
    return sorted(
        path
        for base in bases
        for path in _files_below(base, run_dir)
        if rest.match(path.relative_to(base).as_posix()) and not path.name.startswith(".")
    )


def _as_expression(part: str) -> str:
    return "(?:[^/]+/)*" if part == "**" else _name_expression(part) + "/"


def _name_expression(part: str) -> str:
    if part == "**":
        return "(?:[^/]+/)*[^/]+"
    return fnmatch.translate(part).replace(".*", "[^/]*").removesuffix(r"\Z").removesuffix(r"\z")


def _did_you_mean(spec, path):
    names = known_corpora.names()
    near = difflib.get_close_matches(spec.lower(), [*names, *known_corpora.ALIASES], n=1, cutoff=0.7)
    if not near:
        try:
            beside = [entry.name for entry in path.parent.iterdir()]
        except OSError:
            beside = []
        near = [shown(path.parent / name) for name in difflib.get_close_matches(path.name, beside, n=1)]
    guess = f"; did you mean {near[0]}?" if near else ";"
    return f"{guess} names are: {', '.join(names)}"


def _texts_below(folder, run_dir, flag):
    found = [path for path in _files_below(folder, run_dir) if path.name.lower().endswith(".txt")]
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise UsageError(
            f"{flag} {shown(folder)}: no .txt file in this folder; for other endings give a glob such as "
            f"'{shown(folder / '*.md')}'"
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _files_below(folder, run_dir) -> Iterator[Path]:
    """Every file in a folder and below, through links, each folder once; not in hidden folders or `run_dir`."""

    def closed(error):
        raise RunError(f"cannot read {shown(error.filename)}: {error.strerror or error}") from error

    seen = {identity(folder)} | ({identity(run_dir)} if run_dir else set())
    for place, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        new = [(name, identity(Path(place, name))) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = []
        for name, key in new:
            if key not in seen:
                seen.add(key)
                folders.append(name)
        yield from (path for name in files if is_file(path := Path(place, name)))


def is_file(path: Path) -> bool:
    """Whether there is a file, or a link that leads nowhere: reading that says so."""
    return path.is_file() or (path.is_symlink() and not path.exists())
