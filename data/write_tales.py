"""Write the embedded corpora: tales.txt (English) and tales-zh.txt (Chinese), byte for byte the same each time.

    python data/write_tales.py            # writes both files next to this script
    python data/write_tales.py --check    # writes nothing; exit code 1 if a committed file differs

The words are in `tales_en.py` and `tales_zh.py`: a cast of animals, tables of things, places and mishaps, and
a dozen plots. This file only knows how to grow a plot into a story:

    [early|late]    one of the alternatives, at random; they nest
    {thing}         what this story has drawn under that name; its value may hold [..] and {..} again

A name is drawn once a story, so what a tale mentions early is what comes back later. All chance comes from
`random.Random(seed).random()`, whose sequence Python promises to keep between versions; `choice`, `sample`
and `shuffle` come with no such promise, so the few lines that need them are written out here.
"""

import argparse
import random
import re
import sys
from pathlib import Path

import tales_en
import tales_zh

FOLDER = Path(__file__).resolve().parent
CORPORA = {  # file: (words, seed, size in bytes to reach)
    "tales.txt": (tales_en, 1, 400_000),
    "tales-zh.txt": (tales_zh, 2, 300_000),
}
ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")  # an innermost [..|..]


class Chance:
    """Choices made from nothing but `random()`."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def one(self, items):
        return items[int(self.random() * len(items))]

    def several(self, items, n):
        """`n` different items, in random order."""
        rest = list(items)
        return [rest.pop(int(self.random() * len(rest))) for _ in range(n)]


def grow(text, facts, chance):
    """Replace every [..|..] and {..} of `text`, and of what replaces them, until plain text is left."""
    while "[" in text or "{" in text:
        text, found = ALTERNATIVES.subn(lambda match: chance.one(match[1].split("|")), text)
        if not found:
            text = text.format_map(facts)
    return text


def draw_cast(cast, chance):
    """A hero, a friend and a guest: the latter two stand one to three places after the hero in the circle.

    So of two animals that meet, their names alone tell which one is the hero: a small model can learn that
    long before it learns to follow a conversation, and then seldom lets Pip visit Pip.
    """
    hero = chance.one(range(len(cast)))
    return [cast[(hero + places) % len(cast)] for places in (0, *chance.several((1, 2, 3), 2))]


def draw_facts(words, draws, chance):
    """The cast of a story and what its plot draws from tables: {name: text}.

    `draws` maps names ("a" or "a, b, c") to a table; several names get different rows. A row that is a dict
    adds all of its entries. A row's "not_for" lists kinds of animal that cannot be its hero: draw again.
    """
    while True:
        facts = dict(words.PHRASES) | words.roles(*draw_cast(words.CAST, chance))
        for names, table in draws.items():
            names = names.split(", ")
            for name, row in zip(names, chance.several(table, len(names)), strict=True):
                facts.update(row if isinstance(row, dict) else {name: row})
        if facts["kind"] not in facts.get("not_for", ()):
            return facts


def write_stories(words, seed, n_bytes):
    """Stories, a blank line between them, until there are `n_bytes` of UTF-8 or more.

    No two have the same title and the same middle: changing how a tale opens or ends makes no new tale.
    """
    chance, stories, seen, size, previous = Chance(seed), [], set(), 0, None
    while size < n_bytes:
        plot = chance.one([plot for plot in words.PLOTS if plot is not previous])
        facts = draw_facts(words, plot["draws"], chance)
        title, start, middle, end = (words.polish(grow(line, facts, chance)) for line in plot["lines"])
        if (title, middle) in seen:
            continue
        seen.add((title, middle))
        previous = plot
        stories.append(f"{title}\n{start}\n{middle}\n{end}\n")
        size += len(stories[-1].encode()) + 1
    return "\n".join(stories)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Write the embedded corpora next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file differs")
    check = parser.parse_args(arguments).check
    differing = 0
    for name, corpus in CORPORA.items():
        path, wanted = FOLDER / name, write_stories(*corpus).encode()
        same = path.is_file() and path.read_bytes() == wanted
        if not (same or check):
            path.write_bytes(wanted)
        differing += not same
        state = "up to date" if same else "differs" if check else "written"
        print(f"{path.name}: {state}, {len(wanted):,} bytes")
    return int(check and differing > 0)


if __name__ == "__main__":
    sys.exit(main())
