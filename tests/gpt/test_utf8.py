"""gpt/utf8.py: bytes to text, exactly, wherever the blocks end."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.errors import RunError
from gpt.utf8 import read_text, shown

# bytes that are rich in what can go wrong: line ends, marks, characters of 1 to 4 bytes, their pieces, bad bytes
FRAGMENTS = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"abc", "\ufeff".encode(), "é".encode(), "语".encode()]
FRAGMENTS += ["🙂".encode(), b"\xe8\xaf", b"\xf0\x9f\x99", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5", b"\x80"]
byte_strings = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3)).map(b"".join)


@pytest.fixture(scope="module")
def path():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "text.txt")


def as_defined(data: bytes) -> str:
    return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")


@given(data=byte_strings, block_bytes=st.integers(1, 9))
def test_equals_its_definition_for_every_block_size(path, data, block_bytes):
    path.write_bytes(data)
    try:
        expected = as_defined(data)
    except UnicodeDecodeError as bad:
        with pytest.raises(RunError) as caught:
            list(read_text(path, block_bytes))
        assert f"byte 0x{data[bad.start]:02x} at offset {bad.start} " in str(caught.value)
    else:
        assert "".join(read_text(path, block_bytes)) == expected


@given(text=st.text())
def test_every_text_comes_back(path, text):
    path.write_bytes(text.encode("utf-8"))
    assert "".join(read_text(path)) == as_defined(text.encode("utf-8"))


@pytest.mark.parametrize(
    ("data", "offset", "byte"),
    [
        (b"caf\xe9 au lait", 3, "e9"),
        (b"ok \xe8\xaf", 3, "e8"),  # the file ends in the middle of a character
        (b"\xef\xbb\xbfabc\xff", 6, "ff"),  # a byte-order mark counts
        (b"a\r\nb\r\n\xfe", 6, "fe"),  # and so do carriage returns
        ("语".encode() * 400_000 + b"\x80", 1_200_000, "80"),  # past the first block
        (b"x" * ((1 << 20) - 1) + b"\xe8\xafz", (1 << 20) - 1, "e8"),  # across the end of the first block
    ],
)
def test_names_the_file_the_offset_and_the_byte(tmp_path, data, offset, byte):
    path = tmp_path / "broken.txt"
    path.write_bytes(data)
    with pytest.raises(RunError) as caught:
        list(read_text(path))
    message = str(caught.value)
    assert f"{path} is not UTF-8: byte 0x{byte} at offset {offset} (" in message
    assert "iconv " in message or "text file?" in message
    assert "\n" not in message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_recognises_utf_16(tmp_path, encoding):
    path = tmp_path / "wide.txt"
    path.write_bytes("\ufeffOnce upon a time".encode(encoding))
    with pytest.raises(RunError, match=r"at offset 0 .* begins with the mark of UTF-16: .*iconv -f UTF-16 -t UTF-8"):
        list(read_text(path))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*gone.txt: No such file"):
        list(read_text(tmp_path / "gone.txt"))


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    path = tmp_path / "one_line.txt"
    path.write_bytes("长".encode() * 5_000_000)  # one line of 15 MB
    tracemalloc.start()
    n_chars = sum(len(block) for block in read_text(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_chars == 5_000_000
    assert peak < 8_000_000


def test_shown_is_one_printable_line():
    assert shown(Path("a folder/小说.txt")) == "a folder/小说.txt"
    assert shown("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    assert shown("\udcff.txt") == "\\udcff.txt"
