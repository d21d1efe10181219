"""How right is a tale? data/tales_en.py knows all its plots, so its rules can read a tale as well as write one.

Every line of a plot becomes a pattern. [early|late] is a choice; {thing} stands for whatever the plot may draw under
that name, and is noted. So a line is *well formed* if the plot can write it, and what was noted in all lines of a tale
says whether it *agrees* with itself: the hero stays the hero, who hid behind the door is found behind the door, Nell is
a hedgehog and "she", and who learns to swim does not end up singing.

    a tale          a title and three lines, as between two blank lines of a sample
    well formed     its title and its lines are all of one plot
    agreement       of all that is named again in tales of a known plot, the share that is the same as before
    right           well formed, and all of it agrees
"""

import functools
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gpt.files import shipped

PART = re.compile(r"\[|\]|\||\{(\w+)\}|[^\[\]|{}]+")
ROLES = {"": "H", "f": "F", "g": "G"}  # how the names of what belongs to hero, friend and guest begin


@dataclass(frozen=True)
class Scores:
    """Shares of `tales` tales; `agreement` is one of all repeated mentions."""

    tales: int
    well_formed: float
    agreement: float
    right: float


@functools.cache
def words():
    """The module data/tales_en.py."""
    spec = importlib.util.spec_from_file_location("tales_en", shipped("data") / "tales_en.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain_articles(text: str) -> str:
    """Undo `polish`, which the templates have yet to see: "an owl" becomes "a owl"."""
    return re.sub(r"\b([Aa])n (?=[aeiou])", r"\1 ", text)


class Plot:
    """One plot: a pattern for each of its lines.

    values: {name: the texts that it may stand for}. behind: {name: what is drawn}, where several names tell of one
    draw, and the n-th of their texts belongs to the n-th row: the hero, say, is behind {H}, {he}, {kind} and {home}.
    """

    def __init__(self, plot: dict):
        cast, pronouns = words().CAST, words().PRONOUNS
        self.values, self.behind = {name: [text] for name, text in words().PHRASES.items()}, {}
        for role, letter in ROLES.items():
            own = {letter: [animal["name"] for animal in cast]}
            own |= {role + key: [animal[key] for animal in cast] for key in ("kind", "home", "loves")}
            for place, key in enumerate(("he", "his", "him")):
                own[role + key] = [pronouns[animal["pronoun"]][place] for animal in cast]
            own |= {name.capitalize(): [text.capitalize() for text in texts] for name, texts in own.items()}
            self._draw(letter, own)
        for number, (names, table) in enumerate(plot["draws"].items()):
            if isinstance(table[0], dict):
                self._draw(number, {key: [row[key] for row in table] for key in table[0] if key != "not_for"})
            else:
                for name in names.split(", "):
                    self._draw(name, {name: table})
        self.lines = [self.pattern(line) for line in plot["lines"]]

    def _draw(self, what, own: dict[str, list[str]]) -> None:
        self.values |= own
        self.behind |= dict.fromkeys(own, what)

    def pattern(self, template: str) -> tuple[re.Pattern, list[str]]:
        """A compiled pattern, and for each of its groups the name that it stands for."""
        names = []
        return re.compile(self._expression(template, names)), names

    def _expression(self, template: str, names: list[str]) -> str:
        parts = []
        for part in PART.finditer(plain_articles(template)):
            if part[1]:
                names.append(part[1])
                texts = dict.fromkeys(self.values[part[1]])  # each once
                parts.append(f"({'|'.join(self._expression(text, names) for text in texts)})")
            else:
                parts.append({"[": "(?:", "]": ")", "|": "|"}.get(part[0]) or re.escape(part[0]))
        return "".join(parts)

    def read(self, lines: list[str]) -> tuple[int, list[tuple[str, str]]]:
        """(how many of the lines are well formed, all that they name: (name, text) in order)."""
        formed, mentions = 0, []
        for line, (pattern, names) in zip(lines, self.lines, strict=False):
            found = pattern.fullmatch(line)
            if found:
                formed += 1
                mentions += [(name, text) for name, text in zip(names, found.groups(), strict=True) if text is not None]
        return formed, mentions

    def agreements(self, mentions: list[tuple[str, str]]) -> list[bool]:
        """For each mention of what was mentioned before: can it be the same?"""
        known, found = {}, []
        for name, text in mentions:
            what = self.behind.get(name)
            if what is None:  # a phrase, whose parts are mentions of their own
                continue
            rows = {row for row, value in enumerate(self.values[name]) if self.pattern(value)[0].fullmatch(text)}
            if what in known:
                found.append(bool(known[what] & rows))
            known[what] = known.get(what, rows) & rows or known[what]
        return found


@functools.cache
def plots() -> list[Plot]:
    return [Plot(plot) for plot in words().PLOTS]


def split_tales(text: str, whole: bool = False) -> list[list[str]]:
    """The tales in a sample, as lines; the last may be cut off, and is left out unless it is `whole`."""
    tales = [tale.split("\n") for tale in plain_articles(text).strip("\n").split("\n\n")]
    return tales if whole else tales[:-1]


def score(tales: Iterable[list[str]]) -> Scores:
    """Each tale against the plot that can write the most of its lines."""
    n = formed = right = 0
    same: list[bool] = []
    for lines in tales:
        n += 1
        plot, (best, mentions) = max(((plot, plot.read(lines)) for plot in plots()), key=lambda read: read[1][0])
        agree = plot.agreements(mentions)
        whole = best == len(lines) == len(plot.lines)
        formed += whole
        right += whole and all(agree)
        same += agree
    return Scores(n, formed / max(n, 1), sum(same) / max(len(same), 1), right / max(n, 1))
