"""Bytes of a file -> text, strictly UTF-8, a block at a time.

Two things about a file are not text, and are left out of what comes back, as an editor would leave them out:

    a byte-order mark at the very start of the file      (Windows' Notepad writes one)
    the carriage return of a Windows line end            "\\r\\n" becomes "\\n"; a lone "\\r" stays

Everything else comes back as it is: NULs, tabs, a line of any length, a byte-order mark further in. So for
every file that is valid UTF-8

    "".join(read_text(path)) == data.decode("utf-8").removeprefix("\\ufeff").replace("\\r\\n", "\\n")

while no more than a block is held at once.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from gpt.errors import RunError

BLOCK_BYTES = 1 << 20


def read_text(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[str]:
    """Yield the text of a file in pieces (some may be empty).

    Raises RunError, with the offset of the first bad byte in the file, when it is not UTF-8, and when it
    cannot be read.
    """
    try:
        with open(path, "rb") as file:
            yield from decode(path, file, block_bytes)
    except OSError as error:
        raise RunError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def decode(path, file, block_bytes: int = BLOCK_BYTES) -> Iterator[str]:
    """Yield the text of an open binary file; `path` is what messages call it. Raises RunError, OSError."""
    offset = 0  # of `pending` in the file
    pending = b""  # the bytes of a character that the last block ended in
    held = ""  # a "\r" that may be half a line end
    at_start = True
    at_end = False
    while not at_end:
        block = file.read(block_bytes)
        at_end = not block
        data = pending + block
        try:
            text, used = codecs.utf_8_decode(data, "strict", at_end)
        except UnicodeDecodeError as error:
            raise RunError(_not_utf8(path, data, error, offset)) from None
        offset, pending = offset + used, data[used:]
        if at_start and text:
            at_start = False
            text = text.removeprefix("\ufeff")
        text = held + text
        held = "\r" if text.endswith("\r") and not at_end else ""
        yield text.removesuffix(held).replace("\r\n", "\n")


def _not_utf8(path, data, error, offset):
    from gpt.encodings import advice  # here, where it is needed: charset-normalizer takes long to import

    position, byte = offset + error.start, data[error.start]
    hint = advice(data, error.start, from_start=offset == 0)
    return f"{shown(path)} is not UTF-8: byte 0x{byte:02x} at offset {position} ({error.reason}); {hint}"


def shown(path) -> str:
    """A path as it can stand in a one-line message: what does not print is escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]
