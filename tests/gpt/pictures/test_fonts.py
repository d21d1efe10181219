import pytest

from gpt.pictures import fonts
from gpt.pictures.fonts import BASE, Letters, width


@pytest.fixture
def no_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda: iter(()))


def test_latin_needs_no_other_font(monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda: pytest.fail("looked for a font without need"))
    letters = Letters("naïve Füchse, ␣ ⏎ ‹›")
    assert letters.families == [BASE] and letters.note == "" and letters("naïve") == "naïve"


def test_what_no_font_has_is_written_as_code_points_and_the_note_says_so(no_fonts):
    letters = Letters("a 熊 🦊")
    assert letters.missing == {"熊", "🦊"}
    assert letters("a熊") == "a‹718A›" and letters("🦊") == "‹1F98A›"
    assert "code points" in letters.note


def test_a_font_that_has_the_letters_is_used(monkeypatch):
    have = {"none.ttf": "ab", "some.ttf": "熊", "all.ttf": "熊狐"}
    monkeypatch.setattr(fonts, "_base_font", lambda: ("base.ttf", 0))
    monkeypatch.setattr(fonts, "_candidates", lambda: ((name, name, 0) for name in have))
    monkeypatch.setattr(fonts, "_letters_of", lambda path, face: frozenset(have.get(path, "")))
    letters = Letters("熊狐")
    assert letters.families == [BASE, "some.ttf", "all.ttf"] and letters("熊狐") == "熊狐" and letters.note == ""


def test_boxes_of_the_last_resort_are_no_letters():
    assert not any(family.startswith("Last Resort") for family, _, _ in fonts._candidates())


def test_preferred_fonts_come_first():
    families = [family for family, _, _ in fonts._candidates()]
    ranks = [fonts.PREFERRED.index(family) for family in families if family in fonts.PREFERRED]
    assert ranks == sorted(ranks) and families[: len(ranks)] == [fonts.PREFERRED[rank] for rank in ranks]


def test_cutting_keeps_to_the_width(no_fonts):
    letters = Letters("熊")
    assert letters("abcdef", 4) == "abcd…" and letters("abcd", 4) == "abcd"
    assert letters("ab熊", 7) == "ab…" and letters("ab熊", 8) == "ab‹718A›"
    assert letters.end_of("abcdef", 4) == "…cdef" and letters.end_of("abcd", 4) == "abcd"
    assert width("a熊") == 3


def test_a_file_that_is_no_font_has_no_letters(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert fonts._letters_of(str(tmp_path / "broken.ttf"), 0) == frozenset()
    assert fonts._letters_of(str(tmp_path / "gone.ttf"), 0) == frozenset()


def test_the_terminal_is_told_once_which_command_brings_chinese(no_fonts, monkeypatch, capsys):
    fonts.say_once.cache_clear()
    monkeypatch.setattr(fonts, "PACKAGE", "a_package_that_is_not_there")
    for text in "🦊", "熊", "狐":
        Letters(text)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and 'pip install "nanograd[cjk]"' in err


def test_the_font_of_the_extra_shows_chinese(monkeypatch):
    pytest.importorskip("cvttf_NotoSansCJK_Regular", reason="the extra cjk is not installed")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    (path,) = fonts.packaged_fonts()
    assert set("于是三国演义，。") <= fonts._letters_of(path, 0)
    monkeypatch.setattr("matplotlib.font_manager.fontManager.ttflist", [])
    letters = Letters("熊和狐")
    assert letters.families == [BASE, "Noto Sans CJK TC"] and letters.note == ""
