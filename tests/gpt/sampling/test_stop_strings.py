"""Stop strings: found wherever the text is cut, nothing of one let through, nothing held back in vain."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.errors import UsageError
from gpt.sampling import stop_strings
from gpt.sampling.stop_strings import StopFinder


def slow_definition(text, stops):
    """(the text before the stop string that is complete first, True), or (the text, False)."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


def run(pieces, stops):
    finder = StopFinder(stops)
    out = "".join(finder.feed(piece) for piece in pieces)
    return out + finder.flush(), finder.stopped


@st.composite
def pieces(draw):
    """A text of few letters, so that stop strings and their beginnings abound, cut anywhere."""
    text = draw(st.text("ab好", max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]


stop_lists = st.lists(st.text("ab好", min_size=1, max_size=7), max_size=4)


@given(pieces(), stop_lists)
def test_it_stops_where_the_definition_says_however_the_text_is_cut(parts, stops):
    assert run(parts, stops) == slow_definition("".join(parts), stops)


@given(pieces(), stop_lists)
def test_what_is_held_back_may_be_the_beginning_of_a_stop_string_and_no_more_is(parts, stops):
    finder, seen, out = StopFinder(stops), "", ""
    for part in parts:
        seen += part
        out += finder.feed(part)
        if finder.stopped:
            return
        held = seen[len(out) :]
        assert out + held == seen
        beginnings = [seen[-n:] for stop in stops for n in range(1, len(stop)) if seen.endswith(stop[:n])]
        assert len(held) == max(map(len, beginnings), default=0)


@pytest.mark.parametrize(
    ("parts", "stops", "text", "stopped"),
    [
        (["one\n", "\ntwo"], ["\n\n"], "one", True),
        (["a", "a", "b"], ["aab"], "", True),
        (["aaa", "b"], ["aab"], "a", True),
        (["abcd"], ["abcd", "bc"], "a", True),  # bc is complete first
        (["abc"], ["bc", "abc"], "", True),  # both at once: the longer one
        (["ab"], ["abc"], "ab", False),
        (["ab"], [], "ab", False),
        (["", ""], ["x"], "", False),
        (["x"], ["x"], "", True),
    ],
)
def test_worked_by_hand(parts, stops, text, stopped):
    assert run(parts, stops) == (text, stopped)


def test_nothing_more_comes_out_once_it_has_stopped():
    finder = StopFinder(["."])
    assert finder.feed("a.b") == "a"
    assert finder.feed("c") == "" and finder.flush() == ""


def test_one_string_is_one_stop_string_not_its_letters():
    assert run(["a-b--c"], "--") == ("a-b", True)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(UsageError, match="empty"):
        StopFinder(["x", ""])


def test_a_long_stop_string_in_a_long_text_takes_one_look_at_each_letter():
    """20,000 letters held back, of a text that never completes them; a rescan of them at each would take hours."""
    out, stopped = run(["a" * 100] * 2_000, ["a" * 200_000 + "b"])
    assert len(out) == 200_000 and not stopped


def test_the_examples_of_its_docstring():
    assert doctest.testmod(stop_strings).failed == 0
