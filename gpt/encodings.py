"""What a file is that is not UTF-8 text, told by its bytes: an archive, a document, or text in another encoding.

Archives and documents begin with bytes that name them. Encodings are told apart by charset-normalizer, which decodes
with each and looks at what comes out. Of the single-byte encodings of Windows it often finds several that fit; then
Windows-1252 is named where it is among them, for it is by far the most used. The advice shows a line as it would
read, since only a reader can tell.
"""

import codecs
import re
from collections.abc import Sequence

SAMPLE_BYTES = 1 << 16
LINE_LETTERS = 50
SIGNATURES = (  # the first bytes, what that is, what to do
    (b"\x1f\x8b", "a gzip archive", "unpack it with `gunzip`"),
    (b"BZh", "a bzip2 archive", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it with `unzstd`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF-", "a PDF document", "save its text first, for example with `pdftotext`"),
    (b"{\\rtf", "an RTF document", "save it as plain text (UTF-8) first"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save it as plain text (UTF-8) first"),
    (b"\x89PNG", "a PNG picture", "give a text"),
    (b"\xff\xd8\xff", "a JPEG picture", "give a text"),
    (b"SQLite format 3\0", "an SQLite database", "export its text first"),
    (b"PAR1", "a Parquet table", "export its text first"),
)
ZIPPED = (  # a zip archive that holds this name near its beginning
    (b"word/", "a Word document (.docx)", "save it as plain text (UTF-8) first"),
    (b"application/epub+zip", "an EPUB book", "save it as plain text first"),
    (b"opendocument.text", "an OpenDocument text (.odt)", "save it as plain text (UTF-8) first"),
    (b"xl/", "an Excel table (.xlsx)", "export its text first"),
)
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
WINDOWS_LATIN = ("cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "cp775", "cp852", "cp437", "cp850", "cp858")


def document_kind(head: bytes) -> str:
    """What a file with these first bytes is and what to do with it; "" where they are of no kind known here."""
    kinds = SIGNATURES
    if head.startswith(b"PK\3\4"):
        kinds = tuple((b"PK", *kind) for part, *kind in ZIPPED if part in head[:4096])
        kinds = (*kinds, (b"PK", "a zip archive", "unpack it with `unzip`"))
    return next((f"it is {what}: {advice}" for start, what, advice in kinds if head.startswith(start)), "")


def advice(data: bytes, bad: int, from_start: bool) -> str:
    """What to do with bytes that are no UTF-8 from `bad` on; `from_start`: they are the beginning of the file."""
    if from_start:
        if kind := document_kind(data):
            return kind
        for mark, name in BYTE_ORDER_MARKS:
            if data.startswith(mark):
                return f"it begins with the mark of {name}: {conversion(name)}"
    start = max(0, bad - SAMPLE_BYTES // 2) & ~3  # of pairs and of quadruples too
    sample = data[start : start + SAMPLE_BYTES]
    read = sample.decode("utf-8", errors="replace")
    broken = read.count("\ufffd")
    if sum(ord(letter) >= 128 for letter in read) - broken > 4 * broken:
        return "the text around it is UTF-8, so it is damaged there, or cut off: mend it, or see what `iconv -c` leaves"
    found = guess(sample)
    if found is None:
        return "no encoding that is known here makes text of it: is it a text file?"
    name, language, others = found
    line = decoded_line(sample, bad - start, name)
    sure = "no other fits" if not others else f"others fit too: {', '.join(map(common_name, others[:3]))}"
    of = f", {language}" if language else ""
    return f"probably {common_name(name)}{of} ({sure}), which reads «{line}»: if that is right, {conversion(name)}"


def conversion(name: str) -> str:
    return f"convert it with `iconv -f {common_name(name)} -t UTF-8`"


def common_name(name: str) -> str:
    """An encoding as iconv and people call it: cp1252 is WINDOWS-1252."""
    if name.startswith("cp125"):
        return f"WINDOWS-{name[2:]}"
    name = {"cp932": "SHIFT_JIS", "cp949": "UHC", "utf_16_le": "UTF-16LE", "utf_16_be": "UTF-16BE"}.get(name, name)
    return name.upper().replace("ISO8859_", "ISO-8859-").replace("KOI8_", "KOI8-").replace("EUC_", "EUC-")


def guess(sample: bytes) -> tuple[str, str, Sequence[str]] | None:
    """(encoding as Python names it, language or "", others that fit too) of some bytes; None where none fits."""
    from charset_normalizer import from_bytes

    results = [match for match in from_bytes(sample) if match.encoding not in ("ascii", "utf_8")]
    if not results:
        return None
    names = [name for match in results for name in (match.encoding, *match.could_be_from_charset)]
    names = list(dict.fromkeys(names))
    best = results[0]
    if is_western(sample):
        others = [name for name in names if name != "cp1252" and name in WINDOWS_LATIN]
        return "cp1252", "", others
    language = "" if best.language == "Unknown" else best.language
    same = set(best.could_be_from_charset)  # these decode to the very same text
    near = [match.encoding for match in results[1:] if match.chaos <= best.chaos + 0.05]
    return best.encoding, language, [name for name in near if name not in same]


def is_western(sample: bytes) -> bool:
    """Whether Windows-1252 makes letters and common signs of the bytes above 127: few, one or two at a time."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if sum(byte >= 128 for byte in sample) > 0.25 * len(sample):
        return False
    high = [i for i, letter in enumerate(text) if ord(letter) >= 128]
    runs = re.findall(r"[\x80-\U0010ffff]+", text)
    alone = sum(len(run) for run in runs if len(run) <= 2)
    usual = sum(text[i].isalpha() or text[i] in "‘’“”–—…«»°£€§·¿¡©®™ \u00a0" for i in high)
    return alone >= 0.8 * len(high) and usual >= 0.9 * len(high)


def decoded_line(sample: bytes, bad: int, name: str) -> str:
    """The line around the first bad byte, as `name` reads it; cut to LINE_LETTERS."""
    before = sample[:bad].decode(name, errors="ignore").rpartition("\n")[2]
    after = sample[bad:].decode(name, errors="ignore").partition("\n")[0]
    line = before[-LINE_LETTERS // 2 :] + after[: LINE_LETTERS // 2]
    return "".join(letter if letter.isprintable() else "·" for letter in line).strip()


def wide_text(head: bytes) -> str:
    """The encoding of text whose every second or fourth byte is NUL, "UTF-16LE" or so; "" where that is not so."""
    head = head[: len(head) & ~3]
    share = [head[i::4].count(0) / max(1, len(head) // 4) for i in range(4)]
    nul = [part > 0.5 for part in share]
    kinds = {
        (False, True, False, True): "UTF-16LE",
        (True, False, True, False): "UTF-16BE",
        (False, True, True, True): "UTF-32LE",
        (True, True, True, False): "UTF-32BE",
    }
    return kinds.get(tuple(nul), "")
