import pytest

from gpt.pictures.token_label import LONGEST, text_label, token_label
from tokenizers import BPETokenizer


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("fox", "fox"),
        (" fox", "␣fox"),
        ("\n", "⏎"),
        ("\t", "⇥"),
        ("熊", "熊"),
        ("\x07", "<U+0007>"),
        ("\u200b", "<U+200B>"),
        ("\u00a0", "<U+00A0>"),
        ("\u0301", "◌\u0301"),
        ("$x$", "$x$"),
        ("a" * LONGEST, "a" * LONGEST),
        ("a" * (LONGEST + 1), "a" * (LONGEST - 1) + "…"),
    ],
)
def test_labels(text, label):
    assert text_label(text) == label


def test_half_a_character_is_shown_as_its_bytes():
    tokenizer = BPETokenizer.train("the fox and the bear " * 20)
    labels = [token_label(tokenizer, token) for token in tokenizer.encode("熊")]
    assert labels[-3:] == ["<E7>", "<86>", "<8A>"]
