"""gpt/data/corpus.py: what may stand after --data, and the stream of characters it means."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data import known_corpora
from gpt.data.corpus import open_corpus
from gpt.errors import RunError, UsageError


def write(path: Path, text: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def text_of(*specs) -> str:
    return "".join(open_corpus(specs).chunks())


def test_without_a_name_it_is_the_embedded_tales():
    corpus = open_corpus([])
    assert corpus.label == "tales"
    assert corpus.n_bytes >= 200_000
    assert corpus.paths == open_corpus(["tales"]).paths


def test_the_chinese_companion():
    corpus = open_corpus(["tales-zh"])
    assert corpus.n_bytes >= 100_000
    assert any("\u4e00" <= character <= "\u9fff" for character in next(corpus.chunks()))


def test_an_embedded_text_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setitem(known_corpora.EMBEDDED, "tales", "not-here.txt")
    with pytest.raises(RunError, match=r"not-here.txt is not in .*install the package again.* --data FILE"):
        open_corpus([])


def test_one_file_is_described_by_its_own_bytes(tmp_path):
    data = "Once 从前\n".encode() * 1000
    corpus = open_corpus([write(tmp_path / "t.txt", data)])
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()
    assert (corpus.n_bytes, corpus.n_chars) == (len(data), len(data.decode()))


def test_windows_files_are_the_same_corpus(tmp_path):
    plain = open_corpus([write(tmp_path / "plain.txt", "one\ntwo\n")])
    windows = open_corpus([write(tmp_path / "windows.txt", "\ufeffone\r\ntwo\r\n")])
    assert windows.sha256 == plain.sha256
    assert "".join(windows.chunks()) == "one\ntwo\n"


def test_texts_follow_one_another_on_lines_of_their_own(tmp_path):
    ends = write(tmp_path / "ends.txt", "a\n")
    open_end = write(tmp_path / "open.txt", "\ufeffb")
    empty = write(tmp_path / "empty.txt", "")
    assert text_of(ends, open_end) == "a\nb"
    assert text_of(open_end, empty, ends) == "b\na\n"
    assert text_of(open_end, write(tmp_path / "c", "c")) == "b\nc"


def test_the_hash_tells_two_files_from_one(tmp_path):
    two = open_corpus([write(tmp_path / "1", "a"), write(tmp_path / "2", "b")])
    one = open_corpus([write(tmp_path / "3", "ab")])
    assert two.sha256 != one.sha256


def test_a_folder_means_its_text_files_in_order(tmp_path):
    for name in ["b.txt", "a/2.txt", "a/10.TXT", "c.md", ".hidden.txt", ".git/x.txt", "名字 有空格.txt"]:
        write(tmp_path / "books" / name, name + "\n")
    assert text_of(str(tmp_path / "books")) == "a/10.TXT\na/2.txt\nb.txt\n名字 有空格.txt\n"


def test_a_glob_means_the_files_that_match(tmp_path):
    for name in ["b.md", "a.md", "c.txt", "deep/d.md"]:
        write(tmp_path / name, name + "\n")
    (tmp_path / "folder.md").mkdir()
    assert text_of(str(tmp_path / "*.md")) == "a.md\nb.md\n"
    assert text_of(str(tmp_path / "**/*.md")) == "a.md\nb.md\ndeep/d.md\n"


def test_the_label_is_short_and_printable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("d/1.txt"), "a")
    write(Path("d/2.txt"), "b")
    write(Path("odd\nname"), "c")
    assert open_corpus(["d/1.txt"]).label == "d/1.txt"
    assert open_corpus(["d"]).label == "2 files of d"
    assert open_corpus(["d", "odd\nname"]).label == "3 files: d and more"
    assert open_corpus(["odd\nname"]).label == "odd\\nname"


def test_a_path_wins_over_a_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("[x].txt"), "brackets")
    write(Path("x.txt"), "x")
    assert text_of("[x].txt") == "brackets"


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "t.txt", "home")
    assert text_of("~/t.txt") == "home"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tale", r"--data tale: no such file, folder or name; did you mean tales\? names are: tales, "),
        ("TinyShakespear", r"did you mean tinyshakespeare\?"),
        ("novle.txt", r"did you mean novel.txt\?"),
        ("zzz/qqq", r"no such file, folder or name; names are: "),
        ("*.epub", r"no file matches"),
        ("", r"--data is empty"),
        ("a" * 5000, r"no such file"),
        ("nul\0byte", r"--data nul\\x00byte: no such file"),
        ("novel.txt/x", r"no such file"),
        ("folder", r"no \.txt file in this folder; .*'folder/\*\.md'"),
        (os.devnull, r"a pipe or a device"),
    ],
)
def test_what_is_not_there_is_a_usage_error(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    write(Path("novel.txt"), "text")
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=message) as caught:
        open_corpus([spec])
    assert "\n" not in str(caught.value)


def test_a_text_given_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.txt", "a")
    (tmp_path / "link.txt").symlink_to(path)
    for specs in ([path, path], [path, str(tmp_path)], [path, str(tmp_path / "link.txt")]):
        with pytest.raises(UsageError, match="is given twice"):
            open_corpus(specs)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_one_line(tmp_path, data):
    with pytest.raises(RunError, match=r"t.txt is empty"):
        open_corpus([write(tmp_path / "t.txt", data)])


def test_a_bad_byte_is_found_on_opening(tmp_path):
    good, bad = write(tmp_path / "good", "fine\n"), write(tmp_path / "bad", b"ab\xff")
    with pytest.raises(RunError, match="bad is not UTF-8: byte 0xff at offset 2"):
        open_corpus([good, bad])


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_what_may_not_be_read_is_one_line(tmp_path, monkeypatch, closed):
    """The system's refusal is played, since a test may run as root, whom nothing is refused."""
    path = write(tmp_path / "d" / "t.txt", "text")
    if closed == "file":
        monkeypatch.setattr("builtins.open", refuse)
        spec = path
    else:
        monkeypatch.setattr("os.scandir", refuse)
        spec = str(tmp_path / "d")
    with pytest.raises(RunError, match=r"cannot read .*: Permission denied"):
        open_corpus([spec])


def refuse(path, *args, **kwargs):
    raise PermissionError(13, "Permission denied", str(path))


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = write(tmp_path / "t.txt", "one\n")
    corpus = open_corpus([path])
    write(tmp_path / "t.txt", "two\n")
    with pytest.raises(RunError, match="was changed while"):
        list(corpus.chunks())


@given(text=st.text(st.sampled_from("ab \n\r语🙂\ufeff\0"), min_size=1, max_size=60), n_chars=st.integers(1, 20))
def test_chunks_lose_nothing_and_are_never_longer_than_asked(text, n_chars):
    text = text.replace("\0", "0")  # many of them are no text
    data = text.encode()
    expected = data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "t.txt"), data)
        if not expected:
            with pytest.raises(RunError, match="is empty"):
                open_corpus([path])
            return
        chunks = list(open_corpus([path]).chunks(n_chars))
    assert "".join(chunks) == expected
    assert all(0 < len(chunk) <= n_chars for chunk in chunks)


def test_chunks_end_with_lines_else_before_spaces(tmp_path):
    corpus = open_corpus([write(tmp_path / "t.txt", "ab\ncd ef\nghijklmnop q\n")])
    assert list(corpus.chunks(8)) == ["ab\n", "cd ef\n", "ghijklmn", "op q\n"]
    assert list(corpus.chunks(4)) == ["ab\n", "cd", " ef\n", "ghij", "klmn", "op", " q\n"]


def test_chunks_do_not_depend_on_the_blocks_that_are_read(tmp_path, monkeypatch):
    text = "".join(f"line {n} 行\n" * (n % 7) + "x" * (n % 50) for n in range(400))
    corpus = open_corpus([write(tmp_path / "t.txt", text)])
    whole = list(corpus.chunks(100))
    monkeypatch.setattr("gpt.data.corpus.read_text", lambda path: iter(Path(path).read_text("utf-8")))
    assert list(corpus.chunks(100)) == whole
