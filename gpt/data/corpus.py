"""Which text: from what a user writes after --data to one stream of characters.

gpt/data/finding.py says which files are meant. The texts follow one another in the order given; where one does not
end with a newline, a newline is put between it and the next.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt.data import known_corpora
from gpt.data.finding import find
from gpt.data.oddities import ByteCounts
from gpt.errors import RunError
from gpt.utf8 import read_text, shown

CHUNK_CHARS = 1 << 18
MOST_NOTES = 5  # about single files


@dataclass(frozen=True)
class Corpus:
    """A text that may be larger than memory: read as a stream, as often as one likes.

    `sha256` and `n_bytes` are of the text in UTF-8, as `chunks` gives it: for one file without byte-order
    mark and Windows line ends just the file's own. They say whether two corpora are the same, wherever they
    lie. `file_bytes` are those of each file, with the newline put before it; `file_hashes` are of its text alone.
    `notes` are lines for the user about what is odd in it.
    """

    paths: tuple[Path, ...]
    label: str  # a short name for the user
    n_bytes: int
    n_chars: int
    sha256: str
    file_bytes: tuple[int, ...] = ()
    file_hashes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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


def open_corpus(
    specs: Sequence[str] = (), run_dir: Path | None = None, skip_unreadable: bool = False, flag: str = "--data"
) -> Corpus:
    """Find the texts that `specs` name, read them through once, and describe them.

    `run_dir` is the folder of the run that reads them, which is no text; `flag` is where the names were typed. With
    `skip_unreadable` files that cannot be used are left out, and noted. Raises UsageError for a name or path that is
    not there, RunError for a text that cannot be used: unreadable, not UTF-8, no text, empty, or not to be had over the
    network.
    """
    found = find(specs, run_dir, flag)
    digest, n_bytes, n_chars, last = hashlib.sha256(), 0, 0, "\n"
    files, notes, problems = [], [], []  # files: (path, bytes, hash)
    for path in found:
        before = digest.copy(), n_chars, last
        own, counts, size = hashlib.sha256(), ByteCounts(path), 0
        try:
            for block in filter(None, read_text(path)):
                data = block.encode()
                own.update(data)
                counts.add(data)
                if not size and last != "\n":
                    data = b"\n" + data
                    n_chars += 1
                digest.update(data)
                size += len(data)
                n_chars += len(block)
                last = block[-1]
            notes.append(counts.judge())
        except RunError as error:
            digest, n_chars, last = before
            problems.append(str(error))
            continue
        n_bytes += size
        files.append((path, size, own.hexdigest()))
    if problems:
        notes += _unreadable(problems, len(found), skip_unreadable)
    specs = list(specs) or [known_corpora.DEFAULT]
    paths = tuple(path for path, _, _ in files)
    label = specs[0] if len(specs) == 1 and len(paths) == 1 else _count(specs, paths)
    if not n_chars:
        raise RunError(f"{shown(label)} is empty: there is no text in it")
    notes = [note for note in notes if note]
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [f"and so in {len(notes) - MOST_NOTES} more files"]
    sizes, hashes = (tuple(column) for column in list(zip(*files, strict=True))[1:])
    return Corpus(paths, shown(label), n_bytes, n_chars, digest.hexdigest(), sizes, hashes, tuple(notes))


def _unreadable(problems: Sequence[str], n_files: int, skip: bool) -> list[str]:
    """The notes about files that are left out. Raises RunError, naming them all, unless they may be."""
    if skip and len(problems) < n_files:
        return [f"left out: {problem}" for problem in problems]
    if n_files == 1:
        raise RunError(problems[0])
    if len(problems) > MOST_NOTES:
        problems = [problem.partition(";")[0] for problem in problems]
    way_out = "" if len(problems) == n_files else "; mend them, or leave them out with --skip_unreadable"
    raise RunError(f"{len(problems)} of {n_files} files cannot be used: {'; '.join(problems)}{way_out}")


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


def _count(specs, paths):
    if len(specs) == 1:
        return f"{len(paths)} files of {specs[0]}" if len(paths) > 1 else str(paths[0])
    return f"{len(paths)} files: {specs[0]} and more"
