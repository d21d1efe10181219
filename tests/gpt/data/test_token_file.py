"""gpt/data/token_file.py: ids come back exactly, and a file that was touched does not come back at all."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data.token_file import LABEL_BYTES, MAGIC, dtype_for, read_tokens, write_tokens
from gpt.errors import RunError

SOURCE = {"text": "a" * 64, "tokenizer": "b" * 64}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tokens.bin"
    write_tokens(path, [[1, 2, 3], [], [65, 0]], 66, SOURCE)
    return path


def test_ids_come_back_mapped_and_read_only(path):
    tokens = read_tokens(path, 66, SOURCE)
    assert tokens.tolist() == [1, 2, 3, 65, 0]
    assert tokens.dtype == np.uint16
    assert isinstance(tokens.base, np.memmap)
    assert not tokens.flags.writeable
    assert path.stat().st_size == LABEL_BYTES + 5 * 2


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1, "u2"), (65536, "u2"), (65537, "u4"), (200_000, "u4")])
def test_the_type_holds_the_largest_id(tmp_path, vocab_size, dtype):
    assert dtype_for(vocab_size) == np.dtype(dtype)
    write_tokens(tmp_path / "t", [[0, vocab_size - 1]], vocab_size, SOURCE)
    assert read_tokens(tmp_path / "t", vocab_size, SOURCE).tolist() == [0, vocab_size - 1]


@pytest.mark.parametrize("ids", [[66], [-1], [3, 70_000]])
def test_an_id_that_does_not_fit_is_never_written(tmp_path, ids):
    with pytest.raises(RunError, match="outside 0 to 65"):
        write_tokens(tmp_path / "t", [[1], ids], 66, SOURCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_byte_that_changes_shows(path):
    data = path.read_bytes()
    for position in [*range(500), *range(500, len(data), 97), *range(len(data) - 3, len(data))]:
        for mask in (0x01, 0x80):
            touched = bytearray(data)
            touched[position] ^= mask
            path.write_bytes(touched)
            with pytest.raises(RunError, match=r"tokens.bin"):
                read_tokens(path, 66, SOURCE)


def test_every_length_but_the_right_one_shows(path):
    data = path.read_bytes()
    for length in [*range(0, 300, 7), *range(LABEL_BYTES - 3, len(data))]:  # what is missing is at the end
        path.write_bytes(data[:length])
        with pytest.raises(RunError, match=r"tokens.bin"):
            read_tokens(path, 66, SOURCE)
    for longer in (data + b"\0\0", b"\0\0" + data, b"\0" + data, data[2:]):
        path.write_bytes(longer)
        with pytest.raises(RunError, match=r"tokens.bin is damaged"):
            read_tokens(path, 66, SOURCE)


@given(data=st.binary(max_size=200), whole=st.booleans())
def test_any_other_file_is_refused(tmp_path_factory, data, whole):
    path = tmp_path_factory.mktemp("any") / "tokens.bin"
    path.write_bytes(b"\0" * 6 + (MAGIC + data).ljust(LABEL_BYTES) if whole else data)
    with pytest.raises(RunError, match=r"tokens.bin"):
        read_tokens(path, 66, SOURCE)


def claim(path, **changes):
    """A label that says something else, with its own form intact."""
    data = path.read_bytes()
    about = json.loads(data[-LABEL_BYTES + len(MAGIC) :]) | changes
    label = (MAGIC + json.dumps(about, sort_keys=True).encode()).ljust(LABEL_BYTES - 1) + b"\n"
    path.write_bytes(data[:-LABEL_BYTES] + label)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 10**18},
        {"count": 4},
        {"count": 0},
        {"count": -1},
        {"count": True},
        {"count": "5"},
        {"count": 5.0},
        {"count": None},
        {"dtype": "<u4"},
        {"dtype": "|O"},
        {"vocab_size": 10},
        {"sha256": "0" * 64},
        {"sha256": 0},
        {"source": {"text": "c" * 64, "tokenizer": "b" * 64}},
        {"extra": 1},
    ],
)
def test_a_label_that_claims_something_else_is_refused(path, changes):
    claim(path, **changes)
    tracemalloc.start()
    with pytest.raises(RunError, match=r"tokens.bin"):
        read_tokens(path, 66, SOURCE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_tokens_of_another_text_or_tokenizer_or_size_are_refused(path):
    with pytest.raises(RunError, match="another text or tokenizer"):
        read_tokens(path, 66, SOURCE | {"text": "d" * 64})
    with pytest.raises(RunError, match="another text or tokenizer"):
        read_tokens(path, 67, SOURCE)


def test_an_id_too_large_is_refused_even_with_the_right_hash(path):
    claim(path, vocab_size=10)
    with pytest.raises(RunError, match="are not those"):
        read_tokens(path, 10, SOURCE)


def test_a_missing_file_is_just_that(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tokens(tmp_path / "none", 66, SOURCE)


def test_a_folder_in_its_place_is_one_line(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        read_tokens(tmp_path, 66, SOURCE)
