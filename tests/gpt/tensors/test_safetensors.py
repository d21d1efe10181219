"""The safetensors format: checked against the safetensors package in both directions, and against hostile files."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gpt import files
from gpt.errors import RunError
from gpt.tensors.safetensors import CODES, DTYPES, HEADER_LIMIT, Entry, read_layout, read_safetensors, write_safetensors

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path, tensors):
    with files.atomic_file(path) as file:
        write_safetensors(file, tensors)
    return file


def equal(a, b):
    """The same names, dtypes, shapes and bytes."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


def build(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


values = st.one_of([arrays(dtype, array_shapes(min_dims=0, max_dims=4, max_side=4)) for dtype in CODES])
tensor_names = st.from_regex(r"[A-Za-z0-9_.\-]{1,20}", fullmatch=True)


@given(st.dictionaries(tensor_names, values, max_size=5))
def test_both_directions_agree_with_the_package(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("st") / "a.safetensors"
    finite = all(np.isfinite(value).all() for value in tensors.values())
    file = write(path, tensors)
    assert file.size == path.stat().st_size
    assert equal(load_file(path), tensors)
    if finite:
        assert equal(read_safetensors(path, file.size, file.sha256), tensors)
    else:
        with pytest.raises(RunError, match="NaN or infinite"):
            read_safetensors(path)
    save_file(tensors, path)
    if finite:
        assert equal(read_safetensors(path), tensors)


def test_strided_reversed_and_big_endian_arrays_keep_their_values(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {
        "transposed": base.T,
        "strided": base[::2, ::3],
        "reversed": base[::-1],
        "fortran": np.asfortranarray(base),
        "big": base.astype(">f4"),
        "scalar": np.array(7, np.int64),
        "broadcast": np.broadcast_to(np.float64(2.5), (3, 2)),
    }
    write(tmp_path / "a", tensors)
    for found in (read_safetensors(tmp_path / "a"), load_file(tmp_path / "a")):
        assert found.keys() == tensors.keys()
        for name, value in tensors.items():
            assert found[name].shape == value.shape and np.array_equal(found[name], value), name
    assert all(value.flags.writeable for value in read_safetensors(tmp_path / "a").values())


def test_no_tensors_at_all(tmp_path):
    write(tmp_path / "a", {})
    assert read_safetensors(tmp_path / "a") == load_file(tmp_path / "a") == {}


def test_tensors_start_at_multiples_of_their_item_size(tmp_path):
    write(tmp_path / "a", {"a": np.ones(3, np.uint8), "b": np.ones(3), "c": np.ones(3, np.float16)})
    data = (tmp_path / "a").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    assert all(entry["data_offsets"][0] % DTYPES[entry["dtype"]].itemsize == 0 for entry in header.values())


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": np.ones(2, np.complex64)},
        {"a": np.ones(2, bool)},
        {"a": np.array(["x"])},
        {"a": np.array([None])},
        {"a": np.ones((0, 3))},
        {"a": np.ones((1,) * 9)},
        {"": np.ones(2)},
        {"__metadata__": np.ones(2)},
        {"../a": np.ones(2)},
        {"é": np.ones(2)},
        {f"a{i:0199}": np.ones(1) for i in range(5000)},
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, tensors):
    with pytest.raises(ValueError, match=r"cannot store|header"):
        write(tmp_path / "a", tensors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "header, data, length, problem",
    [
        (b"", b"", 0, "header of 0 bytes"),
        ({"a": F32}, b"\0" * 8, 2**62, "header of 4611686018427387904 bytes"),
        ({"a": F32}, b"\0" * 8, 2**64 - 1, "header of 18446744073709551615 bytes"),
        ({"a": F32}, b"\0" * 8, 500, "header of 500 bytes in a file of"),
        (b"{" + b" " * HEADER_LIMIT + b"}", b"", None, "header of"),
        ({"a": F32}, b"\0" * 9, None, "not as long as the data"),
        ({"a": F32}, b"\0" * 7, None, "not as long as the data"),
        ({}, b"\0", None, "not as long as the data"),
        ({"a": F32, "b": F32}, b"\0" * 8, None, "does not start where"),
        ({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, b"\0" * 20, None, "does not start where"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, b"\0" * 8, None, "match its bytes"),
        ({"a": {**F32, "shape": [3]}}, b"\0" * 8, None, "match its bytes"),
        ({"a": {**F32, "shape": [2**61, 2**61]}}, b"\0" * 8, None, "match its bytes"),
        ({"a": {**F32, "shape": [-2]}}, b"\0" * 8, None, "no proper shape"),
        ({"a": {**F32, "shape": [0, 2**60], "data_offsets": [0, 0]}}, b"", None, "no proper shape"),
        ({"a": {**F32, "shape": [2.0]}}, b"\0" * 8, None, "no proper shape"),
        ({"a": {**F32, "shape": [True, 2]}}, b"\0" * 8, None, "no proper shape"),
        ({"a": {**F32, "shape": "2"}}, b"\0" * 8, None, "no proper shape"),
        ({"a": {**F32, "shape": [2] + [1] * 64}}, b"\0" * 8, None, "no proper shape"),
        ({"a": {**F32, "data_offsets": [0, 8, 8]}}, b"\0" * 8, None, "no proper data_offsets"),
        ({"a": {**F32, "data_offsets": [-8, 0]}}, b"\0" * 8, None, "no proper data_offsets"),
        ({"a": {**F32, "data_offsets": None}}, b"\0" * 8, None, "no proper data_offsets"),
        ({"a": {**F32, "dtype": "BF16"}}, b"\0" * 4, None, "dtype other than"),
        ({"a": {**F32, "dtype": ["F32"]}}, b"\0" * 8, None, "dtype other than"),
        ({"a": {**F32, "more": 1}}, b"\0" * 8, None, "other fields"),
        ({"a": {"dtype": "F32"}}, b"", None, "other fields"),
        ({"a": 3}, b"", None, "other fields"),
        ({"../../a": F32}, b"\0" * 8, None, r"tensor '../../a' has a name"),
        ({"": F32}, b"\0" * 8, None, "a name with odd"),
        ({"a\nb\x1b[31m": F32}, b"\0" * 8, None, r"'a\\nb\\x1b\[31m'"),
        ({"x" * 300: F32}, b"\0" * 8, None, r"x'\.\.\. has a name"),
        ({"__metadata__": {"a": 1}}, b"", None, "__metadata__"),
        ({"__metadata__": []}, b"", None, "__metadata__"),
        ([], b"", None, "no JSON object"),
        (b' {"a":1}', b"", None, "no JSON object"),
        (b'{"a":1,"a":1}', b"", None, "twice"),
        (b'{"a":NaN}', b"", None, "NaN"),
        (b'{"\\ud800":1}', b"", None, "surrogates"),
        (b'{"a":' + b"[" * 99999 + b"]" * 99999 + b"}", b"", None, "deep"),
        (b"\xff\xfe\xff", b"", None, "utf-8"),
        ({"a": F32}, np.array([1, np.nan], "<f4").tobytes(), None, "tensor 'a' has values that are NaN"),
        ({"a": F32}, np.array([-np.inf, 1], "<f4").tobytes(), None, "tensor 'a' has values that are NaN"),
        ({"a": F32}, b"\1\0\xa0\x7f" * 2, None, "tensor 'a' has values that are NaN"),  # a signalling NaN
    ],
)
def test_hostile_files_end_with_one_line(tmp_path, header, data, length, problem):
    path = build(tmp_path / "a.safetensors", header, data, length)
    with pytest.raises(RunError, match=problem) as raised:
        read_safetensors(path)
    message = str(raised.value)
    assert str(path) in message and message.isascii() and message.isprintable() and len(message) < 500


def test_a_hostile_claim_allocates_nothing(tmp_path):
    entry = {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}
    claims = [
        build(tmp_path / "a", {"a": entry}),
        build(tmp_path / "b", {"a": F32}, b"\0" * 8, length=2**63),
        build(tmp_path / "c", {"a": entry, "b": {**entry, "data_offsets": [2**43, 2**44]}}),
    ]
    tracemalloc.start()
    try:
        for path in claims:
            with pytest.raises(RunError):
                read_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_no_memory_is_said(tmp_path, monkeypatch):
    path = build(tmp_path / "a", {"a": F32}, b"\0" * 8)

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(np, "empty", none_left)
    with pytest.raises(RunError, match=r"no memory for tensor 'a' of 0.0 MB"):
        read_safetensors(path)


def test_size_and_hash_are_held_against_the_file(tmp_path):
    file = write(tmp_path / "a", {"a": np.ones(3)})
    read_safetensors(tmp_path / "a", file.size, file.sha256)
    with pytest.raises(RunError, match="bytes, where"):
        read_safetensors(tmp_path / "a", file.size + 1, file.sha256)
    with pytest.raises(RunError, match="SHA-256"):
        read_safetensors(tmp_path / "a", file.size, "0" * 64)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
small = st.integers(0, 40)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "BF16", "BOOL"]),
        "shape": st.lists(small | junk, max_size=3) | st.lists(small, max_size=3),
        "data_offsets": st.tuples(small, small).map(list) | junk,
    }
)


@st.composite
def fitting_headers(draw):
    """Headers that are right, or wrong by one step only."""
    header, offset = {}, 0
    for name in draw(st.lists(tensor_names, unique=True, max_size=4)):
        code = draw(st.sampled_from(sorted(DTYPES)))
        shape = draw(st.lists(st.integers(1, 3), max_size=3))
        n_bytes = int(np.prod(shape, dtype=int)) * DTYPES[code].itemsize
        offset += draw(st.sampled_from([0] * 9 + [1, -1]))
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [offset, offset + n_bytes]}
        offset += n_bytes
    return header


headers = fitting_headers() | st.dictionaries(st.text(max_size=5) | tensor_names, entries | junk, max_size=3)


def check_any_header(folder, header, data):
    """Our reader takes nothing that the package does not, gives the same values, and fails in one way only."""
    path = build(folder / "a.safetensors", header, data)
    try:
        found = read_safetensors(path)
    except RunError as error:
        assert str(path) in str(error) and "\n" not in str(error) and str(error).isascii()
        return False
    assert equal(found, load_file(path))
    return True


@given(header=headers, extra=st.integers(-2, 20), seed=st.integers(0, 255))
def test_any_header(tmp_path_factory, header, extra, seed):
    ends = [entry["data_offsets"][1] for entry in header.values() if _has_end(entry)]
    data = bytes([seed % 120]) * max(0, max(ends, default=0) + extra * (extra > 15))
    check_any_header(tmp_path_factory.getbasetemp(), header, data)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(header=headers, extra=st.integers(-2, 20), seed=st.integers(0, 255))
def test_any_header_at_length(tmp_path_factory, header, extra, seed):
    test_any_header.hypothesis.inner_test(tmp_path_factory, header, extra, seed)


def _has_end(entry):
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and type(offsets[1]) is int and offsets[1] < 1000


@given(header=st.binary(max_size=60) | st.text(alphabet='{}[]":,ae019.-', max_size=40).map(str.encode))
def test_any_bytes_as_a_header(tmp_path_factory, header):
    check_any_header(tmp_path_factory.getbasetemp(), header, b"")


def test_the_package_refuses_what_we_would_never_write(tmp_path):
    """A guard on `check_any_header`: the package itself must be able to say no."""
    with pytest.raises(SafetensorError):
        load_file(build(tmp_path / "a", {"a": F32}, b"\0" * 9))
    assert read_layout(json.dumps({"a": F32}).encode(), 8, tmp_path) == {"a": Entry("F32", (2,), 0, 8)}
