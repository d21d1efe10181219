"""A BPE tokenizer's files: damage and hostile contents are refused in one line."""

import hashlib
import json
import os
import random
import re
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.marks import slow
from tests.support.texts import EIGHT_LINES
from tokenizers import BPETokenizer, CharTokenizer, TokenizerError, TokenizerFileError, load_tokenizer
from tokenizers.bpe_model import read_pieces

# Files


def test_a_folder_is_all_that_is_needed(small, tmp_path):
    folder = tmp_path / "out" / "小 run"
    small.save(folder)
    assert sorted(os.listdir(folder)) == ["tokenizer.json", "tokenizer.model"]
    loaded = load_tokenizer(folder)
    assert type(loaded) is BPETokenizer
    assert loaded.encode(EIGHT_LINES) == small.encode(EIGHT_LINES)
    assert (loaded.vocab_size, loaded.fingerprint) == (small.vocab_size, small.fingerprint)
    assert BPETokenizer.load(folder).model == small.model
    with pytest.raises(TokenizerFileError, match="is damaged: 'characters' should be"):
        CharTokenizer.load(folder)


def test_fingerprints_tell_models_apart(small, tales):
    assert small.fingerprint != tales.fingerprint
    assert small.fingerprint == BPETokenizer.train(EIGHT_LINES).fingerprint


def damage(folder, data):
    (folder / "tokenizer.model").write_bytes(data)
    with pytest.raises(TokenizerFileError) as error:
        load_tokenizer(folder)
    assert "tokenizer.model" in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_a_damaged_model_is_refused(small, tmp_path):
    small.save(tmp_path)
    good = small.model
    for cut in range(0, len(good), 97):
        assert "truncated" in damage(tmp_path, good[:cut])
    assert "truncated or not its own" in damage(tmp_path, good + b"\0")
    rng = random.Random(0)
    for _ in range(300):
        at = rng.randrange(len(good))
        assert "SHA-256" in damage(tmp_path, good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.model is missing"):
        load_tokenizer(tmp_path)


def seal(folder, model, **changes):
    """A folder whose header vouches for whatever the model is."""
    header = {
        "version": 1,
        "kind": "bpe",
        "vocab_size": 346,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer.json").write_text(json.dumps(header | changes), encoding="utf-8")


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def message(*fields_):
    """A protocol buffer; an int is a varint, a float four bytes, the rest a length and bytes."""
    out = bytearray()  # bytes would be copied for each of 65,000 fields
    for number, value in fields_:
        wire = {int: 0, bytes: 2, float: 5}[type(value)]
        out += varint(number << 3 | wire)
        if wire == 2:
            out += varint(len(value)) + value
        else:
            out += varint(value) if wire == 0 else struct.pack("<f", value)
    return bytes(out)


def piece(text, kind=1, score=-1.0):
    return (1, message((1, text if isinstance(text, bytes) else text.encode()), (2, score), (3, kind)))


UNKNOWN_AND_BYTES = [piece("<unk>", 2), *(piece(f"<0x{i:02X}>", 6) for i in range(256))]
SETTINGS = {
    2: [(3, 2), (35, 1)],
    3: [(1, b"identity"), (2, b""), (3, 0), (4, 0)],
}


def model_of(*pieces, first=UNKNOWN_AND_BYTES, trained=SETTINGS[2], normalised=SETTINGS[3], more=()):
    return message(*first, *pieces, (2, message(*trained)), (3, message(*normalised)), *more)


SPACE = piece("▁")


def test_a_model_written_by_hand_is_accepted(tmp_path):
    model = model_of(SPACE, piece("▁a"), piece("a"))
    assert read_pieces(model)[257:] == [b" ", b" a", b"a"]
    seal(tmp_path, model, vocab_size=260)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode(" a a") == [258, 258]
    assert tokenizer.decode(tokenizer.encode(EIGHT_LINES)) == EIGHT_LINES


HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x0f" + b"x" * 50,
    "an endless number": b"\xff" * 50,
    "a group": b"\x0b\x0c",
    "a table of normalisations": model_of(
        SPACE, normalised=[*SETTINGS[3], (2, struct.pack("<I", 1 << 30) + b"x" * 64)]
    ),
    "rules of normalisation": model_of(SPACE, normalised=[*SETTINGS[3], (6, b"a\tb")]),
    "a dummy prefix": model_of(SPACE, normalised=[(2, b""), (3, 1), (4, 0)]),
    "whitespace removed by default": model_of(SPACE, normalised=[(2, b""), (3, 0)]),
    "spaces left as they are": model_of(SPACE, normalised=[*SETTINGS[3], (5, 0)]),
    "spaces as suffixes": model_of(SPACE, trained=[*SETTINGS[2], (24, 1)]),
    "a unigram model": model_of(SPACE, trained=[(3, 1), (35, 1)]),
    "no byte fallback": model_of(SPACE, trained=[(3, 2)]),
    "a denormaliser": model_of(SPACE, more=[(5, message((2, b"x" * 16)))]),
    "settings twice": model_of(SPACE, more=[(3, message((2, b"x" * 16)))]),
    "no unknown piece": model_of(SPACE, first=UNKNOWN_AND_BYTES[1:]),
    "a byte too few": model_of(SPACE, first=UNKNOWN_AND_BYTES[:-1]),
    "bytes in disorder": model_of(SPACE, first=[UNKNOWN_AND_BYTES[0], *UNKNOWN_AND_BYTES[:0:-1]]),
    "no space": model_of(piece("a")),
    "a piece twice": model_of(SPACE, piece("a"), piece("a")),
    "an empty piece": model_of(SPACE, piece("")),
    "an endless piece": model_of(SPACE, piece("a" * 100_000)),
    "a piece that is no UTF-8": model_of(SPACE, piece(b"\xff\xfe")),
    "a bare space": model_of(SPACE, piece("a b")),
    "a control piece": model_of(SPACE, piece("</s>", 3)),
    "a user-defined piece": model_of(SPACE, piece("abc", 4)),
    "a score that is no number": model_of(SPACE, piece("a", 1, float("nan"))),
    "a piece of numbers": model_of(SPACE, (1, message((1, 5), (2, 1.0)))),
    "a number for a piece": model_of(SPACE, (1, 7)),
}
LARGE = "65,280 pieces too many"


@pytest.mark.parametrize("name", [*HOSTILE, slow(LARGE)])
def test_a_hostile_model_with_a_good_hash_is_refused(tmp_path, name):
    model = model_of(SPACE, *(piece(chr(0x10000 + i)) for i in range(65_536))) if name == LARGE else HOSTILE[name]
    seal(tmp_path, model, vocab_size=258)
    with pytest.raises(ValueError):  # before sentencepiece sees it
        read_pieces(model)
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.model: this is no model of ours: .") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=40), st.integers(0, 10_000), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_a_model_patched_anywhere_is_refused_or_sound(small, patch, at, removed):
    """Whatever bytes are written over a good model, with a hash to match, the worst is another sound tokenizer."""
    at %= len(small.model)
    model = small.model[:at] + patch + small.model[at + removed :]
    try:
        tokenizer = BPETokenizer(model)
    except TokenizerError as error:
        assert "\n" not in str(error)
    else:
        assert tokenizer.decode(tokenizer.encode(EIGHT_LINES)) == EIGHT_LINES


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": 300}, "says 300 tokens"),
        ({"vocab_size": None}, "'vocab_size' should be a number"),
        ({"bytes": 10}, "truncated"),
        ({"bytes": -1}, "truncated"),
        ({"bytes": 1e9}, "'bytes' should be a number"),
        ({"bytes": True}, "'bytes' should be a number"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"sha256": 0}, "'sha256' should be a string"),
        ({"path": "../../etc/passwd"}, "of no meaning"),
        ({"version": 0}, "format version 0"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(small, tmp_path, changes, says):
    seal(tmp_path, small.model, **{"vocab_size": small.vocab_size} | changes)
    with pytest.raises(TokenizerFileError, match=re.escape(says)):
        load_tokenizer(tmp_path)


def test_an_enormous_model_is_refused_unread(tmp_path):
    seal(tmp_path, b"x", bytes=1 << 40)
    with open(tmp_path / "tokenizer.model", "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte, and a header that says so
    tracemalloc.start()
    with pytest.raises(TokenizerFileError, match="1,099,511,627,776 bytes, and no tokenizer"):
        load_tokenizer(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
