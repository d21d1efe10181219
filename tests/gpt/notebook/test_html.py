import math

import pytest

from gpt.notebook.html import number, paragraph, table, verbatim

EVIL = '<script>alert("x")</script> & more'


def test_every_text_is_escaped():
    for made in (
        table([EVIL], [[EVIL]], caption=EVIL),
        paragraph(EVIL, EVIL),
        verbatim(EVIL),
    ):
        assert "<script" not in made and "&lt;script&gt;" in made and "&amp; more" in made


def test_a_table_has_its_rows_in_order_and_numbers_to_the_right():
    made = table(["name", "count"], [("a", 1234567), ("b", 0.25)])
    assert made.index("name") < made.index(">a<") < made.index("1,234,567") < made.index(">b<") < made.index("0.2500")
    assert made.count("text-align: right") == 2 and made.count("<tr>") == made.count("</tr>") == 3


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_a_dash(value):
    assert number(value) == "–"
