"""The reader of tales: those that were written are right, and what is wrong in a tale is noticed."""

import re

import pytest

from gpt.data.stories import Scores, plots, score, split_tales
from tests.support import ROOT

TALES = split_tales((ROOT / "data" / "tales.txt").read_text(encoding="utf-8"), whole=True)
SEEK = [
    "How Nell and Pip played hide and seek",
    "Once there was a little hedgehog called Nell who lived under a pile of leaves. One day Nell played hide and seek "
    "with Pip the mouse. So Nell counted to five, and Pip hid in the garden.",
    "First Nell looked for Pip by the pond. There was only a old shoe. Then Nell looked for Pip under the bed. "
    'There was only a sleepy snail. "Oh no," said Nell. "Where is Pip?"',
    'Then Nell looked in the garden, and there was Pip! "I found you," said Nell. "Now I will look for you," said '
    "Pip. It was a very good day.",
]


@pytest.mark.slow
def test_every_tale_that_comes_along_is_right():
    assert score(TALES) == Scores(len(TALES), 1.0, 1.0, 1.0)
    assert len(plots()) == 12


def test_a_tale_made_up_by_hand_is_right():
    assert score([SEEK]) == Scores(1, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        (3, "looked in the garden", "looked under the bridge"),  # who hid is not the one, nor the place, that is found
        (3, "there was Pip", "there was Otto"),
        (3, "said Nell", "said Ada"),  # acts, and was never named
        (1, "Pip the mouse", "Pip the owl"),  # no owl is called Pip
        (1, "little hedgehog", "little goat"),
        (1, "under a pile of leaves", "in a cave by the river"),
        (0, "How Nell", "How Dot"),
        (2, '"Where is Pip?"', '"Where is Gus?"'),
    ],
)
def test_what_does_not_agree_is_noticed(line, old, new):
    tale = list(SEEK)
    assert old in tale[line]
    tale[line] = tale[line].replace(old, new)
    found = score([tale])
    assert found.well_formed == 1 and found.agreement < 1 and found.right == 0


@pytest.mark.parametrize(
    ("plot", "old", "new"),
    [
        ("count to five", "One, two, three, four, five", "One, two, three, five, four"),
        ("was brave", "One step, two steps, three steps", "One step, two steps, four steps"),
        ("swim", "all the way across the pond", "until the stars came out"),
    ],
)
def test_counts_and_phrases_that_no_plot_writes_are_ill_formed(plot, old, new):
    tale = next(tale for tale in TALES if plot in tale[0] and any(old in line for line in tale))
    wrong = [line.replace(old, new) for line in tale]
    assert score([tale]).right == 1 and score([wrong]).well_formed == 0


def test_what_was_learned_must_be_what_was_wanted():
    dance = next(tale for tale in TALES if "learned to dance" in tale[0])
    sing = next(tale for tale in TALES if "learned to sing" in tale[0])
    hero = re.compile(r"learned|How|to|\W")
    assert hero.split(dance[0]) and score([[*dance[:2], sing[2], dance[3]]]).right == 0


def test_lines_too_few_or_too_many_or_of_two_plots_are_ill_formed():
    for tale in (SEEK[:3], [*SEEK, "The end."], [SEEK[0], *TALES[0][1:]], [""], ["nothing of the kind"]):
        assert score([tale]).well_formed == 0 and score([tale]).right == 0


def test_shares_are_of_all_tales():
    wrong = [SEEK[0], SEEK[1], SEEK[2], SEEK[3].replace("there was Pip", "there was Otto")]
    found = score([SEEK, wrong, ["nothing"], SEEK])
    assert (found.tales, found.well_formed, found.right) == (4, 0.75, 0.5)
    assert score([]) == Scores(0, 0.0, 0.0, 0.0)


def test_a_sample_is_split_at_blank_lines_and_its_cut_end_is_left_out():
    assert split_tales("\n\na\nb\n\nc\n\nan owl") == [["a", "b"], ["c"]]
    assert split_tales("an owl\n\nc\n", whole=True) == [["a owl"], ["c"]]
    assert split_tales("") == []
