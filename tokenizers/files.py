"""Reading and writing a tokenizer's files: whole or not at all, and nothing believed unread.

`tokenizer.json` is the header, one flat JSON object:

    kind        "char" or "bpe"
    version     of this format: 1
    vocab_size  how many tokens
    sha256      of the rest: the characters (char), or the file tokenizer.model (bpe)
    characters  (char) the alphabet, as one string, in the order of the ids
    bytes       (bpe) the size of tokenizer.model

A file is written under another name, flushed to the disk and renamed, so that a reader meets the old one or
the new one and never half of one. On the way in a file's size is looked at before it is read, and its hash
before it is used.
"""

import json
import os
import stat
from pathlib import Path

from .base import TokenizerFileError, sha256

HEADER = "tokenizer.json"
VERSION = 1
HEADER_BYTES = 1 << 20  # at most; 200,000 characters of four bytes fit


def read_file(folder, name: str, most: int, exactly: int | None = None) -> bytes:
    """The bytes of a regular file that is no larger than it may be. Raises TokenizerFileError."""
    path = Path(folder) / name
    try:
        facts = os.stat(path)  # before open, which would wait on a pipe
        if not stat.S_ISREG(facts.st_mode):
            raise TokenizerFileError.about(folder, name, "is not a regular file")
        if exactly is not None and facts.st_size != exactly:
            problem = f"has {facts.st_size:,} bytes where {HEADER} says {exactly:,}: it is truncated or not its own"
            raise TokenizerFileError.about(folder, name, problem)
        if facts.st_size > most:
            problem = f"has {facts.st_size:,} bytes, and no tokenizer of this project has over {most:,}"
            raise TokenizerFileError.about(folder, name, problem)
        with open(path, "rb") as file:
            return file.read(facts.st_size)
    except FileNotFoundError:
        raise TokenizerFileError.about(folder, name, "is missing: there is no tokenizer in this folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the folder's name
        if isinstance(error, TokenizerFileError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise TokenizerFileError.about(folder, name, f"cannot be read: {reason}") from None


def read_header(folder) -> dict:
    """The object in tokenizer.json; its version is checked, its other fields are not. Raises TokenizerFileError."""
    data = read_file(folder, HEADER, HEADER_BYTES)
    try:
        header = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TokenizerFileError.about(folder, HEADER, f"is damaged: no UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", "") or "it is no JSON that a tokenizer would write"
        raise TokenizerFileError.about(folder, HEADER, f"is damaged: {problem}"[:120]) from None
    if not isinstance(header, dict):
        raise TokenizerFileError.about(folder, HEADER, "is damaged: it holds no JSON object")
    version = header.get("version")
    if type(version) is not int or version != VERSION:
        problem = f"is of format version {version!r:.40}, and this program reads version {VERSION}"
        raise TokenizerFileError.about(folder, HEADER, problem)
    return header


def check_fields(folder, header: dict, kind: str, **types) -> None:
    """Raises TokenizerFileError unless the header is of this kind and has, besides what every header has, exactly these
    fields of these types."""
    types = {"kind": str, "vocab_size": int, "sha256": str} | types
    for name, wanted in types.items():
        if type(header.get(name)) is not wanted:
            problem = f"is damaged: {name!r} should be {'a number' if wanted is int else 'a string'}"
            raise TokenizerFileError.about(folder, HEADER, problem)
    for name in header.keys() - types.keys() - {"version"}:
        raise TokenizerFileError.about(folder, HEADER, f"is damaged: it has a field {name!r:.40} of no meaning")
    if header["kind"] != kind:
        raise TokenizerFileError.about(folder, HEADER, f"is of kind {header['kind']!r:.40}, not {kind!r}")


def check_hash(folder, name: str, data: bytes, wanted: str) -> None:
    if sha256(data) != wanted:
        raise TokenizerFileError.about(folder, name, f"is damaged: its SHA-256 is not the one in {HEADER}")


def write_header(folder, **fields) -> None:
    text = json.dumps({"version": VERSION, **fields}, ensure_ascii=False, indent=1) + "\n"
    write_file(folder, HEADER, text.encode("utf-8"))


def write_file(folder, name: str, data: bytes) -> None:
    """Writes a file into a folder (made if need be), so that it is there whole or not at all. Raises OSError."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".tmp-{os.getpid()}-{name}"  # a name that a run's next process knows and removes
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, folder / name)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself must reach the disk; elsewhere a folder cannot be opened
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
