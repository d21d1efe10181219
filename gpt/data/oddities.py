"""What the bytes of a text say against its being one: NULs, control characters, one byte all the time.

All of these are valid UTF-8, and a model trains on them without complaint. So a file that is surely no text is
refused, and one that is suspect gets a line.
"""

import numpy as np

from gpt.encodings import conversion, document_kind, wide_text
from gpt.errors import RunError
from gpt.utf8 import shown

HEAD_BYTES = 4096
NUL_SHARE = 0.01  # of the bytes; a text has none
CONTROL_SHARE = 0.001
SAME_SHARE = 0.95
REPLACED_SHARE = 0.0005  # of the bytes
FEWEST_BYTES = 100  # in which a share means something
_WHITE = [9, 10, 11, 12, 13, 27]  # tab, line ends, page break, and what a terminal's colours begin with
CONTROL = [code for code in (*range(1, 32), 127) if code not in _WHITE]
REPLACEMENT = "\ufffd".encode()


class ByteCounts:
    """The bytes of one file, counted as they pass by."""

    def __init__(self, path):
        self.path = path
        self.head = b""
        self.counts = np.zeros(256, np.int64)
        self.replaced = 0

    def add(self, data: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.counts += np.bincount(np.frombuffer(data, np.uint8), minlength=256)
        self.replaced += data.count(REPLACEMENT)

    def judge(self) -> str:
        """A line about what is suspect, or "". Raises RunError for a file that is no text."""
        total = int(self.counts.sum())
        if kind := document_kind(self.head):
            raise RunError(f"{shown(self.path)} is no plain text: {kind}")
        if total < FEWEST_BYTES:
            return ""
        if self.counts[0] > NUL_SHARE * total:
            share = f"{shown(self.path)} is no text: {100 * self.counts[0] / total:.0f}% of its bytes are NUL"
            wide = wide_text(self.head)
            raise RunError(f"{share}; it looks like {wide} without a mark: {conversion(wide)}" if wide else share)
        controls = int(self.counts[CONTROL].sum())
        if self.counts[0] or controls > CONTROL_SHARE * total:
            return f"{shown(self.path)} holds {int(self.counts[0]) + controls:,} control characters: is it plain text?"
        if self.counts.max() > SAME_SHARE * total:
            letter = chr(int(self.counts.argmax()))
            share = 100 * self.counts.max() / total
            return f"{shown(self.path)} is {share:.0f}% the one character {letter!a}: there is little to learn"
        if self.replaced > REPLACED_SHARE * total:
            return (
                f"{shown(self.path)} holds {self.replaced:,} replacement characters (U+FFFD): it was decoded wrongly "
                "before it came here"
            )
        return ""
