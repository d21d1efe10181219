"""Which text: from what a user writes after --data to one stream of characters.

What may be written, once or several times:

    nothing          the embedded English tales
    tales-zh         a name: an embedded text or a well-known one (gpt/data/known_corpora.py)
    novel.txt        a file, whatever its ending
    books/           a folder: every *.txt in it and below, in order of name; hidden ones are passed over
    'books/*.md'     a glob: the files that match, in order of name; ** matches folders too

A path that exists wins over a name (`--data ./tales` and `--data tales` differ only where a file or folder of
that name lies in the current folder), and over a glob of the same spelling. The texts follow one another in
the order given; where one does not end with a newline, a newline is put between it and the next.
"""

import difflib
import errno
import glob
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt.data import known_corpora
from gpt.errors import RunError, UsageError
from gpt.utf8 import read_text, shown

CHUNK_CHARS = 1 << 18

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Corpus:
    """A text that may be larger than memory: read as a stream, as often as one likes.

    `sha256` and `n_bytes` are of the text in UTF-8, as `chunks` gives it: for one file without byte-order
    mark and Windows line ends just the file's own. They say whether two corpora are the same, wherever they
    lie.
    """

    paths: tuple[Path, ...]
    label: str  # a few words for the user
    n_bytes: int
    n_chars: int
    sha256: str

    def chunks(self, n_chars: int = CHUNK_CHARS) -> Iterator[str]:
        """Yield the text in order in pieces of at most `n_chars` characters.

        A piece ends where a line ends if it can, else before a space, else anywhere between two characters.
        Where the pieces end depends on the text and on `n_chars` alone. Raises RunError at the end when a
        file was changed since the corpus was opened.
        """
        digest = hashlib.sha256()
        text, start = "", 0
        for block in _stream(self.paths):
            digest.update(block.encode())
            text, start = text[start:] + block, 0
            while len(text) - start > n_chars:
                end = _piece_end(text, start, start + n_chars)
                yield text[start:end]
                start = end
        if start < len(text):
            yield text[start:]
        if digest.hexdigest() != self.sha256:
            raise RunError(f"{self.label} was changed while it was being read; start again")


def open_corpus(specs: Sequence[str] = ()) -> Corpus:
    """Find the texts that `specs` name (the module says how), read them through once, and describe them.

    Raises UsageError for a name or path that is not there, RunError for a text that cannot be used:
    unreadable, not UTF-8, empty, or not to be had over the network.
    """
    specs = list(specs) or [known_corpora.DEFAULT]
    paths = tuple(path for spec in specs for path in _find(spec))
    _refuse_repeats(paths)
    label = specs[0] if len(specs) == 1 and len(paths) == 1 else _count(specs, paths)
    digest, n_bytes, n_chars = hashlib.sha256(), 0, 0
    for block in _stream(paths):
        data = block.encode()
        digest.update(data)
        n_bytes += len(data)
        n_chars += len(block)
    if not n_chars:
        raise RunError(f"{shown(label)} is empty: there is no text to train on")
    return Corpus(paths, shown(label), n_bytes, n_chars, digest.hexdigest())


def absolute_specs(specs: Sequence[str]) -> tuple[str, ...]:
    """The same texts for a command that is started in another folder: absolute paths and globs, names as they are."""

    def absolute(spec):
        path = os.path.expanduser(spec)
        if os.path.exists(path):
            return os.path.abspath(path)
        if glob.has_magic(spec) and not os.path.isabs(path):
            return os.path.join(glob.escape(os.getcwd()), path)
        return path if glob.has_magic(spec) else spec

    return tuple(map(absolute, specs))


def _stream(paths):
    """The texts of `paths` as one, in blocks."""
    last = "\n"
    for path in paths:
        at_start = True
        for block in read_text(path):
            if not block:
                continue
            if at_start and last != "\n":
                yield "\n"
            at_start, last = False, block[-1]
            yield block


def _piece_end(text, start, limit):
    line_end = text.rfind("\n", start, limit) + 1
    if line_end:
        return line_end
    space = text.rfind(" ", start + 1, limit)
    return space if space > 0 else limit


def _find(spec):
    """One thing written after --data -> the files it means."""
    if not spec:
        raise UsageError(f"--data is empty; give a file, folder, glob or one of: {', '.join(known_corpora.names())}")
    path = Path(os.path.expanduser(spec))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError) and error.errno not in _ABSENT:  # a folder on the way is closed
            raise RunError(f"cannot read {shown(spec)}: {error.strerror or error}") from error
        return _find_absent(spec, path)
    if stat.S_ISDIR(mode):
        return _texts_below(path)
    if not stat.S_ISREG(mode):
        raise UsageError(f"{shown(spec)} is a pipe or a device; the text is read more than once: give a file")
    return [path]


def _find_absent(spec, path):
    known = known_corpora.find(spec)
    if known:
        return [known]
    if glob.has_magic(spec):
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        files = [match for match in found if match.is_file()]
        if files:
            return files
        raise UsageError(f"--data {shown(spec)}: no file matches this pattern")
    raise UsageError(f"--data {shown(spec)}: no such file, folder or name{_did_you_mean(spec, path)}")


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


def _texts_below(folder):
    def closed(error):
        raise RunError(f"cannot read {shown(error.filename)}: {error.strerror or error}") from error

    found = []
    for place, folders, files in os.walk(folder, onerror=closed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        texts = [name for name in files if name.lower().endswith(".txt") and not name.startswith(".")]
        found += [path for name in texts if (path := Path(place, name)).is_file()]
    if not found:
        raise UsageError(
            f"--data {shown(folder)}: no .txt file in this folder; for other endings give a glob such as "
            f"'{shown(folder / '*.md')}'"
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _refuse_repeats(paths):
    seen = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise UsageError(f"{shown(path)} is given twice; validation text must not be in the training text")
        seen.add(real)


def _count(specs, paths):
    if len(specs) == 1:
        return f"{len(paths)} files of {specs[0]}" if len(paths) > 1 else str(paths[0])
    return f"{len(paths)} files: {specs[0]} and more"
