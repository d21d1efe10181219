import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.pictures.segmentation import CELLS, MOST_CHARACTERS, beginning, draw_segmentation, lay_out
from tests.support.marks import slow
from tokenizers import BPETokenizer

TEXT = "The fox met the bear, and the bear met the fox. $x$\n" * 20


@given(st.lists(st.text(alphabet="ab熊 ", min_size=1, max_size=14), max_size=60))
def test_boxes_follow_one_another_and_stay_inside(labels):
    boxes, lines = lay_out(labels)
    assert [label for label, *_ in boxes] == labels
    end, current = 0.0, 0
    for label, x, line, cells in boxes:
        assert line in (current, current + 1) and x + cells <= CELLS + 1e-9
        assert x >= (end if line == current else 0) and cells >= len(label)
        end, current = x + cells, line
    assert lines == current + 1


@pytest.mark.parametrize("text", ["x", *map(slow, (TEXT, TEXT * 9))])
def test_it_is_drawn_with_the_counts_of_both_ways(tmp_path, text, monkeypatch):
    titles = []
    from gpt.pictures import segmentation as module

    drawn = module.picture
    monkeypatch.setattr(
        module, "picture", lambda path, title, *rest, **more: titles.append(title) or drawn(path, title, *rest, **more)
    )
    bpe = BPETokenizer.train(TEXT)
    draw_segmentation(text, bpe, 30, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000
    shown = beginning(text, MOST_CHARACTERS)
    assert titles[0].startswith(f"One text, {len(shown)} characters or {len(bpe.encode(shown))} BPE tokens")


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("the bear met the fox", 16, "the bear met the"),
        ("the bear met the fox", 18, "the bear met the"),
        ("the bear", 8, "the bear"),
        ("a\nlong line", 5, "a"),
        ("小熊来了，狐狸在河边钓鱼", 8, "小熊来了，"),
        ("小熊和狐狸在河边钓鱼", 4, "小熊和狐"),
        ("x" * 90 + " y", 80, "x" * 80),
        ("a " + "x" * 90, 80, "a " + "x" * 78),
    ],
)
def test_a_text_is_cut_between_words(text, most, shown):
    assert beginning(text, most) == shown
