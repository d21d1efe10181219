"""Rows about texts: which one is meant, how it is split, its bytes, links, and files that cannot be read."""

import gzip
import io
import os
import zipfile

import numpy as np
import pytest

from gpt.config.options import TrainConfig
from gpt.config.toml import read_run_config
from gpt.data.corpus import open_corpus
from gpt.data.prepare import prepare
from gpt.errors import RunError, UsageError
from gpt.runs.load import own_data
from tests.faults.table import Place, fault
from tests.support.tiny_runs import TALE
from tokenizers import load_tokenizer

QUOTED = "He said: don\u2019t go, it\u2019s late.\nShe said: I won\u2019t.\n" * 40
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚汉分争，又并入于汉。\n" * 60
ENGLISH = TALE * 30


def text_of(*specs, **options):
    return "".join(open_corpus(specs, **options).chunks())


def refused(*specs, **options) -> str:
    with pytest.raises((UsageError, RunError)) as error:
        open_corpus(specs, **options)
    return str(error.value)


@fault(2)
def no_data_means_the_text_that_comes_along(place: Place):
    place.write("tales/mine.txt", "mine\n")
    assert open_corpus().paths == open_corpus(["known:tales"]).paths


@fault(2, pytest.mark.slow)
def a_run_may_be_called_like_the_text(place: Place):
    code, _, err = place.train(out_dir="tales", max_steps=1)
    assert code == 0 and (place.folder / "tales/config.toml").is_file(), err
    assert place.train("--resume", out_dir="tales", max_steps=2)[0] == 0


@fault(2)
def a_name_that_is_also_a_path_says_how_to_mean_either(place: Place):
    place.write("tales/mine.txt", "mine\n")
    assert "give ./tales for what is here, or known:tales for the text" in refused("tales")
    assert text_of("./tales") == "mine\n" and len(text_of("known:tales")) > 1000
    place.write("alice", "a file\n")
    assert "./alice" in refused("alice") and "./tinyshakespeare" not in refused("alice")


@fault(2)
def the_run_folder_is_never_its_text(place: Place):
    place.write("texts/a.txt", "a\n")
    place.write("texts/run/b.txt", "b\n")
    run = place.folder / "texts/run"
    assert text_of("texts", run_dir=run) == text_of("texts/**/*.txt", run_dir=run) == "a\n"
    assert "own folder" in refused("texts/run", run_dir=run)


@fault(2, pytest.mark.slow)
def a_folder_that_appears_later_does_not_change_a_run(place: Place):
    run = place.trained("--data=tales-zh", max_steps=1)
    place.write("tales-zh/x.txt", "x")
    assert read_run_config(TrainConfig, run / "config.toml").data == ("known:tales-zh",)
    code, _, err = place.train("--resume", out_dir="run", max_steps=2)
    assert code == 0, err


@fault(2)
def a_known_name_that_is_not_known_is_an_error(place: Place):
    assert "no such name; names are: tales, " in refused("known:tale")


def two_languages(place, **options):
    place.write("books/1.txt", ENGLISH)
    place.write("books/2.txt", CHINESE)
    return prepare(("books",), 16, kind="char", progress=False, **options)


@fault(3)
def several_files_are_each_split(place: Place):
    data = two_languages(place)
    text = data.tokenizer.decode(data.val)
    assert "fox" in text and "天下" in text
    assert len(data.train) + len(data.val) == len(ENGLISH) + len(CHINESE)
    assert text == ENGLISH[len(ENGLISH) * 9 // 10 :] + CHINESE[len(CHINESE) * 9 // 10 :]


@fault(3)
def spread_takes_stretches_from_all_over_and_no_token_twice(place: Place):
    text = "".join(chr(0x4E00 + i) for i in range(16000))
    place.write("text.txt", text)
    data = prepare(("text.txt",), 16, kind="char", how="spread", progress=False)
    train, val = data.tokenizer.decode(data.train), data.tokenizer.decode(data.val)
    assert sorted(train + val) == list(text) and len(val) == pytest.approx(1600, abs=20)
    assert np.diff([ord(letter) for letter in val]).max() > 500 and ord(val[0]) < 0x4E00 + 800


@fault(3, pytest.mark.slow)
def validation_may_be_a_text_of_its_own(place: Place):
    place.write("a.txt", ENGLISH)
    place.write("b.txt", TALE[::-1].replace("\n", "") * 4)
    run = place.trained("--data=a.txt", "--val_data=b.txt")
    tokenizer = load_tokenizer(run)
    data = own_data(run, tokenizer)
    assert tokenizer.decode(data.train) == ENGLISH and tokenizer.decode(data.val).startswith(TALE[-2:0:-1][:20])
    place.write("b.txt", "The fox.\n" * 20)
    code, _, err = place.train("--resume", out_dir="run", max_steps=9)
    assert code == 2 and "give the same --val_data" in err


@fault(3)
def the_same_text_under_another_name_does_not_validate(place: Place):
    place.write("a.txt", ENGLISH)
    place.write("copy.txt", ENGLISH)
    code, _, err = place.train("--data=a.txt", "--val_data=copy.txt")
    assert code == 2 and "copy.txt is the same text as a.txt" in err


@fault(3, pytest.mark.slow)
def parts_that_are_unlike_each_other_get_a_word(place: Place):
    place.write("text.txt", ENGLISH + CHINESE[:700])
    code, _, err = place.train("--data=text.txt", max_steps=1)
    assert code == 0 and "the validation text is unlike the training text" in err and "--split spread" in err
    place.write("even.txt", ENGLISH)
    assert "unlike" not in place.train("--data=even.txt", max_steps=1)[2]
    place.write("again.txt", "hello world " * 20_000)  # losses of 0.001, one of them twice the other
    assert "unlike" not in place.train("--data=again.txt", max_steps=1)[2]


@fault(3)
def small_files_are_taken_together(place: Place):
    for i in range(50):
        place.write(f"notes/{i:02}.txt", TALE[:60] + "\n")
    data = prepare(("notes",), 16, kind="char", progress=False)
    assert len(data.train) + len(data.val) == 50 * 61 and len(data.val) > 250


@fault(3)
def a_single_text_is_split_as_in_the_article(place: Place):
    place.write("text.txt", ENGLISH)
    data = prepare(("text.txt",), 16, kind="char", progress=False)
    assert data.tokenizer.decode(data.val) == ENGLISH[len(ENGLISH) * 9 // 10 :]


@fault(4)
def a_windows_text_is_not_called_chinese(place: Place):
    place.write("text.txt", QUOTED.encode("cp1252"))
    message = refused("text.txt")
    assert "iconv -f WINDOWS-1252" in message and "don’t go" in message and "GB18030" not in message


@fault(4)
def one_lone_byte_in_a_long_text(place: Place):
    place.write("text.txt", ENGLISH.encode() + b"I don\x92t know\n")
    assert "WINDOWS-1252" in (message := refused("text.txt")) and "don’t know" in message


@fault(4)
def encodings_are_told_apart_by_their_bytes(place: Place):
    russian = "Привет, мир. Сегодня хорошая погода, и мы идём гулять.\n" * 50
    german = "Die Größe der Häuser überrascht. Schöne Grüße aus München.\n" * 30
    japanese = "これは日本語の文章です。今日は天気がいいですね。\n" * 50
    for text, encoding, name in (
        (CHINESE, "gb18030", "GB18030"),
        (russian, "cp1251", "WINDOWS-1251"),
        (russian, "koi8_r", "KOI8-R"),
        (german, "latin1", "WINDOWS-1252"),
        (japanese, "shift_jis", "SHIFT_JIS"),
        (CHINESE, "utf-16-le", "UTF-16LE"),
    ):
        place.write("text.txt", text.encode(encoding))
        assert f"iconv -f {name} " in refused("text.txt"), encoding


@fault(4)
def a_damaged_byte_in_a_utf8_text_is_no_other_encoding(place: Place):
    place.write("text.txt", CHINESE.encode() + b"\x80" + CHINESE.encode())
    assert "the text around it is UTF-8" in refused("text.txt")


@fault(4)
def random_bytes_get_no_advice_that_makes_text_of_them(place: Place):
    place.write("text.txt", np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())
    assert "iconv" not in (message := refused("text.txt")) and "is it a text file?" in message


@fault(4)
def archives_and_documents_are_named_as_what_they_are(place: Place):
    word = io.BytesIO()
    with zipfile.ZipFile(word, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("book.txt", ENGLISH)
    for content, name in (
        (gzip.compress(ENGLISH.encode()), "a gzip archive"),
        (plain.getvalue(), "a zip archive"),
        (word.getvalue(), "a Word document"),
        (b"%PDF-1.4\n% only ASCII\n" * 40, "a PDF document"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        (b"{\\rtf1\\ansi don\\'92t}" * 10, "an RTF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
    ):
        place.write("book.txt", content)
        message = refused("book.txt")
        assert name in message and "iconv" not in message, message


@fault(5)
def utf16_without_a_mark_is_refused(place: Place):
    for encoding, name in ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"), ("utf-32-le", "UTF-32LE"):
        place.write("text.txt", ENGLISH.encode(encoding))
        assert f"iconv -f {name} " in refused("text.txt")


@fault(5)
def nuls_throughout_are_refused(place: Place):
    place.write("text.txt", ENGLISH.encode() + bytes(5000))
    assert "of its bytes are NUL" in refused("text.txt")


@fault(5)
def control_characters_get_a_line(place: Place):
    place.write("text.txt", ENGLISH.replace(" ", "\x02"))
    assert any("control characters" in note for note in open_corpus(["text.txt"]).notes)
    assert "control characters" in place.train("--data=text.txt", max_steps=1)[2]
    place.write("text.txt", "\x1b[1mcolours\x1b[0m and tabs\t\f\r\n" * 50)
    assert not open_corpus(["text.txt"]).notes


@fault(5)
def one_byte_repeated_gets_a_line(place: Place):
    place.write("text.txt", "a" * 5000 + "\n")
    assert "100% the one character 'a'" in open_corpus(["text.txt"]).notes[0]


@fault(5)
def a_text_decoded_wrongly_before_gets_a_line(place: Place):
    place.write("text.txt", QUOTED.encode("cp1252").decode("utf-8", errors="replace"))
    assert "decoded wrongly" in open_corpus(["text.txt"]).notes[0]


@fault(6)
def a_folder_with_a_link_to_its_own_file_is_read_once(place: Place):
    file = place.write("books/b.txt", "b\n")
    os.symlink(file, place.folder / "books/a.txt")
    os.link(file, place.folder / "books/c.txt")
    assert text_of("books") == text_of("books/*.txt") == text_of("**/*.txt") == "b\n"


@fault(6)
def linked_folders_are_followed(place: Place):
    place.write("elsewhere/far.txt", "far\n")
    place.write("books/near.txt", "near\n")
    os.symlink(place.folder / "elsewhere", place.folder / "books/linked")
    assert text_of("books") == text_of("books/**/*.txt") == "far\nnear\n"


@fault(6)
def loops_come_to_an_end(place: Place):
    place.write("books/deep/x.txt", "x\n")
    for name in "up", "again":
        os.symlink(place.folder / "books", place.folder / "books/deep" / name)
    assert text_of("books") == text_of("books/**/*.txt") == "x\n"


@fault(6)
def what_is_named_twice_by_hand_is_refused_with_both_names(place: Place):
    file = place.write("a.txt", "a\n")
    os.symlink(file, place.folder / "b.txt")
    message = refused("a.txt", "b.txt")
    assert "b.txt is given twice (also as a.txt)" in message
    place.write("books/c.txt", "c\n")
    assert "given twice" in refused("books", "books/c.txt")


@fault(6)
def a_link_that_leads_nowhere_is_not_passed_over(place: Place):
    place.write("books/a.txt", "a\n")
    os.symlink("gone.txt", place.folder / "books/b.txt")
    assert "books/b.txt" in refused("books")
    assert text_of("books", skip_unreadable=True) == "a\n"


def mixed_files(place):
    place.write("books/1.txt", "one")
    place.write("books/2.txt", QUOTED.encode("cp1252"))
    place.write("books/3.txt", "three\n")
    place.write("books/4.txt", gzip.compress(b"x"))


@fault(13)
def files_that_cannot_be_read_are_listed_at_once(place: Place):
    mixed_files(place)
    message = refused("books")
    assert message.startswith("2 of 4 files") and "books/2.txt" in message and "books/4.txt" in message
    assert "--skip_unreadable" in message


@fault(13)
def they_can_be_left_out_with_a_line_each(place: Place):
    mixed_files(place)
    corpus = open_corpus(["books"], skip_unreadable=True)
    assert "".join(corpus.chunks()) == "one\nthree\n" and corpus.n_chars == corpus.n_bytes == 10
    assert [path.name for path in corpus.paths] == ["1.txt", "3.txt"] and len(corpus.notes) == 2
    assert corpus.file_bytes == (3, 7)
    assert corpus.sha256 == open_corpus(["books/1.txt", "books/3.txt"]).sha256


@fault(13, pytest.mark.slow)
def a_run_without_them_trains_and_goes_on(place: Place):
    place.write("books/1.txt")
    place.write("books/2.txt", b"\xff" + TALE.encode())
    assert place.train("--data=books", out_dir="run")[0] == 1
    code, _, err = place.train("--data=books", "--skip_unreadable", out_dir="run")
    assert code == 0 and "left out: books/2.txt" in err
    assert place.train("--resume", out_dir="run", max_steps=9)[0] == 0


@fault(13)
def when_all_of_them_are_bad_that_is_an_error(place: Place):
    place.write("books/1.txt", b"\xff\xfe\x00")
    place.write("books/2.txt", b"\xff\xff\xff")
    assert "2 of 2 files" in (message := refused("books", skip_unreadable=True)) and "--skip_unreadable" not in message


@fault(13)
def hundreds_are_listed_with_their_reasons_but_not_their_lines(place: Place):
    for i in range(300):
        place.write(f"books/{i:03}.txt", b"caf\xe9\n")
    place.write("books/good.txt", "good\n")
    message = refused("books")
    assert message.startswith("300 of 301") and message.count("byte 0xe9 at offset 3") == 300 and "«" not in message


@fault(15)
def brackets_in_the_name_of_a_folder(place: Place):
    place.write("Books [2020]/a.txt", "a\n")
    place.write("Books [2020]/b.md", "b\n")
    assert text_of("Books [2020]/*.txt") == text_of(str(place.folder / "Books [2020]/*.txt")) == "a\n"
    assert text_of("Books [2020]/**/*") == "a\nb\n" and text_of("Books [2020]") == "a\n"


@fault(15)
def brackets_in_the_name_of_a_file(place: Place):
    place.write("[draft] one.txt", "one\n")
    assert text_of("[draft]*.txt") == "one\n"
    place.write("d/x1.txt", "x1\n")
    assert text_of("d/x[0-9].txt") == "x1\n"
