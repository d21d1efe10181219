"""The char tokenizer: lossless for its alphabet, plain about the rest, and safe against its own file."""

import json
import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers import CharTokenizer, TokenizerError, TokenizerFileError, load_tokenizer


def reseal(folder, **changes):
    """Rewrites tokenizer.json with some fields changed."""
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(fields, ensure_ascii=True), encoding="utf-8")


def test_ids_follow_the_code_points():
    tokenizer = CharTokenizer.train("hello, 世界\n")
    assert tokenizer.characters == "\n ,ehlo世界"
    assert tokenizer.encode("hole\n") == [4, 6, 5, 3, 0]
    assert tokenizer.token_bytes(8) == "界".encode()
    assert (tokenizer.kind, tokenizer.vocab_size) == ("char", 9)


@given(st.text(min_size=1), st.integers(1, 7))
@settings(deadline=None)
def test_every_text_decodes_to_itself_however_it_is_chunked(text, size):
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    tokenizer = CharTokenizer.train(iter(chunks))
    assert tokenizer.characters == CharTokenizer.train(text).characters
    assert tokenizer.encode(text) == [i for chunk in chunks for i in tokenizer.encode(chunk)]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hi 🦆", ["'🦆'", "U+1F986", "DUCK", "position 3", "--tokenizer bpe"]),
        ("hé", ["'é'", "U+00E9", "LATIN SMALL LETTER E WITH ACUTE", "position 1", "leave it out"]),
        ("\0", [r"'\x00'", "(U+0000)", "position 0"]),
        ("i\ue000", [r"'\ue000'", "(U+E000)", "position 1"]),
        ("hi\ud800", ["lone surrogate", "U+D800", "position 2"]),
    ],
)
def test_an_unknown_character_is_named(text, says):
    with pytest.raises(TokenizerError) as error:
        CharTokenizer.train("hi ").encode(text)
    assert all(part in str(error.value) for part in says), str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(TokenizerError, match="empty"):
        CharTokenizer.train("")
    with pytest.raises(TokenizerError, match="empty"):
        CharTokenizer.train(iter([]))
    with pytest.raises(TokenizerError, match=r"U\+DFFF\) at position 4"):
        CharTokenizer.train(["abc", "d\udfff"])
    with pytest.raises(TokenizerError, match="not bytes"):
        CharTokenizer.train([b"abc"])
    with pytest.raises(TokenizerError, match="at most 200,000; use --tokenizer bpe"):
        CharTokenizer.train("".join(map(chr, range(0xE000, 0xE000 + 200_001))))


@pytest.mark.parametrize("token", [-1, 3, 10**30])
def test_an_id_outside_the_vocabulary_is_refused(token):
    tokenizer = CharTokenizer.train("abc")
    with pytest.raises(TokenizerError, match=f"{token} is not in the vocabulary: ids go from 0 to 2"):
        tokenizer.token_bytes(token)
    with pytest.raises(TokenizerError, match="is not in the vocabulary"):
        tokenizer.decode([0, token])


@given(st.text(min_size=1))
@settings(deadline=None, max_examples=25)
def test_a_folder_is_all_that_is_needed(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("run")
    tokenizer = CharTokenizer.train(text)
    tokenizer.save(folder)
    loaded = load_tokenizer(folder)
    assert type(loaded) is CharTokenizer
    assert loaded.characters == tokenizer.characters
    assert loaded.fingerprint == tokenizer.fingerprint
    assert os.listdir(folder) == ["tokenizer.json"]


def test_fingerprints_tell_alphabets_apart():
    assert CharTokenizer.train("abc").fingerprint == CharTokenizer.train("cabba").fingerprint
    assert CharTokenizer.train("abc").fingerprint != CharTokenizer.train("abd").fingerprint


@pytest.mark.slow
def test_a_full_alphabet_can_be_saved(tmp_path):
    tokenizer = CharTokenizer.train("".join(map(chr, range(0x10000, 0x10000 + 200_000))))
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).vocab_size == 200_000


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    CharTokenizer.train("abc").save(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        CharTokenizer.train("xyz").save(tmp_path)
    assert load_tokenizer(tmp_path).characters == "abc"
    assert os.listdir(tmp_path) == ["tokenizer.json"]


@pytest.mark.slow
def test_no_changed_bit_and_no_missing_byte_is_accepted(tmp_path):
    tokenizer = CharTokenizer.train('ab"\\\n\x7fé界🦆')
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    good = path.read_bytes()
    damaged = [good[:n] for n in range(len(good) - 2)]  # without the last line end it is still whole
    for i in range(len(good)):
        damaged += [good[:i] + bytes([good[i] ^ 1 << bit]) + good[i + 1 :] for bit in range(8)]
    accepted = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            loaded = load_tokenizer(tmp_path)
        except TokenizerFileError as error:
            assert "tokenizer.json" in str(error) and "\n" not in str(error)
        else:  # the sign in front of an escape's hex digits has two cases, as have the digits
            assert loaded.characters == tokenizer.characters
            accepted += 1
    assert accepted <= 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "format version 2, and this program reads version 1"),
        ({"version": True}, "format version True"),
        ({"version": "1"}, "format version '1'"),
        ({"kind": "word"}, "no known kind: 'word'"),
        ({"kind": ["char"]}, "no known kind"),
        ({"kind": "bpe"}, "'bytes' should be a number"),
        ({"vocab_size": 4}, "not as many as it says"),
        ({"vocab_size": 3.0}, "'vocab_size' should be a number"),
        ({"vocab_size": True}, "'vocab_size' should be a number"),
        ({"characters": "abd"}, "SHA-256"),
        ({"characters": ""}, "damaged"),
        ({"characters": ["a", "b", "c"]}, "'characters' should be a string"),
        ({"characters": "ab\ud800"}, "lone surrogate"),
        ({"sha256": None}, "'sha256' should be a string"),
        ({"surprise": 1}, "a field 'surprise' of no meaning"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(tmp_path, changes, says):
    CharTokenizer.train("abc").save(tmp_path)
    reseal(tmp_path, **changes)
    with pytest.raises(TokenizerFileError) as error:
        load_tokenizer(tmp_path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"null",
        b"[1]",
        b"NaN",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"version": ' + b"9" * 10_000 + b"}",
        b'{"version": 1e999}',
    ],
)
def test_what_is_no_header_is_refused(tmp_path, data):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.json is .*(damaged|version)") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_an_unsorted_alphabet_is_refused_even_with_its_hash(tmp_path):
    CharTokenizer.train("abc").save(tmp_path)
    reseal(tmp_path, characters="acb", sha256="aff5" + "0" * 60)
    with pytest.raises(TokenizerFileError, match="SHA-256"):
        load_tokenizer(tmp_path)
    digest = "8e9766083b3bfc2003f791c9853941b0ea035d16379bfec16b72d376e272fa57"  # of "acb"
    reseal(tmp_path, characters="acb", sha256=digest)
    with pytest.raises(TokenizerFileError, match="not sorted"):
        load_tokenizer(tmp_path)


def test_an_enormous_file_is_refused_unread(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    tracemalloc.start()
    with pytest.raises(TokenizerFileError, match="1,099,511,627,776 bytes"):
        load_tokenizer(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)
    with pytest.raises(TokenizerFileError, match="is missing"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(TokenizerFileError, match="cannot be read"):
        load_tokenizer("a\0b")
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(TokenizerFileError, match="is not a regular file"):
        load_tokenizer(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(TokenizerFileError, match="is not a regular file"):
        load_tokenizer(tmp_path)
