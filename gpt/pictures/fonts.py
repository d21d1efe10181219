"""Letters for any text: which fonts to draw it with, and what to write where no font has a letter.

matplotlib comes with DejaVu Sans, which has no Chinese. So the installed fonts are looked through for the letters
that a text needs. A character that none of them has is written as its code point, ‹4E2D›, and `note` says so:
better than a row of empty boxes.
"""

import functools
import importlib.util
from pathlib import Path
from unicodedata import category, east_asian_width

from gpt.cli.output import say
from gpt.pictures.plotting import load_matplotlib

BASE = "DejaVu Sans"
PACKAGE = "cvttf_NotoSansCJK_Regular"
COMMAND = 'pip install "nanograd[cjk]"'
BOXES = "Last Resort"  # matplotlib's own: it has a box for every character there is, and a letter for none
# Looked at before other fonts, for they are known to be readable on a screen and to have most of Chinese.
PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)


class Letters:
    """How to write `text`: `families` to draw with, and `letters(part)` for what these can show of a part.

    `note` is a sentence for the reader about what is shown as code points; empty as a rule.
    """

    def __init__(self, text: str):
        load_matplotlib()
        wanted = {letter for letter in text if ord(letter) >= 128}
        self.families = [BASE]
        self.missing = wanted - _letters_of(*_base_font()) if wanted else set()
        for family, path, face in _candidates() if self.missing else ():
            found = self.missing & _letters_of(path, face)
            if found:
                self.families.append(family)
                self.missing -= found
            if not self.missing:
                break
        self.note = ""
        if self.missing:
            self.note = (
                "No installed font can show some characters: they are written as their code points in ‹ ›. "
                "A font such as Noto Sans CJK shows Chinese."
            )
            wide = any(width(letter) == 2 and category(letter) == "Lo" for letter in self.missing)  # not pictographs
            if wide and not packaged_fonts():
                say_once(f"no font here shows Chinese: {COMMAND} brings one; until then pictures have its code points")

    def __call__(self, part: str, longest: int | None = None) -> str:
        """A part of the text as it can be shown; cut, with …, where it would be wider than `longest` letters."""
        signs = [f"‹{ord(letter):X}›" if letter in self.missing else letter for letter in part]
        fit = len(signs) if longest is None else _how_many_fit(signs, longest)
        return "".join(signs[:fit]) + "…" * (fit < len(signs))

    def end_of(self, part: str, longest: int) -> str:
        """The same, but it is the beginning that is cut."""
        signs = [self(letter) for letter in reversed(part)]
        fit = _how_many_fit(signs, longest)
        return "…" * (fit < len(signs)) + "".join(reversed(signs[:fit]))


@functools.cache
def say_once(line: str) -> None:
    """Tell the person at the terminal, for the first picture of many."""
    say(line)


def width(text: str) -> int:
    """How wide a text is, in letters of a latin alphabet; Chinese ones count as two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _how_many_fit(signs: list[str], longest: int) -> int:
    room = longest
    for i, sign in enumerate(signs):
        room -= width(sign)
        if room < 0:
            return i
    return len(signs)


def _base_font() -> tuple[str, int]:
    from matplotlib import font_manager

    return font_manager.findfont(BASE), 0


def _candidates():
    """(family, path, face) of every installed upright font, the preferred families first, each family once."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in [*packaged_fonts(), *findSystemFonts()]:  # matplotlib's own list may be older than a font
        if path not in known:
            _add(path)
    rank = {family: i for i, family in enumerate(PREFERRED)}
    fonts = {}
    for entry in fontManager.ttflist:
        if entry.style == "normal" and entry.name != BASE and not entry.name.startswith(BOXES):
            fonts.setdefault(entry.name, (entry.fname, getattr(entry, "index", 0)))
    for family in sorted(fonts, key=lambda name: (rank.get(name, len(rank)), name)):
        yield family, *fonts[family]


def packaged_fonts() -> list[str]:
    """The font that `pip install "nanograd[cjk]"` brings: Noto Sans CJK, alone in a package."""
    package = importlib.util.find_spec(PACKAGE)
    places = package.submodule_search_locations if package else []
    return [str(path) for place in places for path in sorted(Path(place).glob("*.otf"))]


def _add(path: str) -> None:
    from matplotlib.font_manager import fontManager

    try:
        fontManager.addfont(path)
    except (OSError, RuntimeError, ValueError):  # damaged, or made of bitmaps: matplotlib cannot draw with it
        return


@functools.lru_cache(maxsize=64)
def _letters_of(path: str, face: int) -> frozenset[str]:
    """The characters that a font file has."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path, face_index=face) if face else FT2Font(path)
    except (OSError, RuntimeError, TypeError):  # gone, damaged, or a second face before matplotlib could open one
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))
