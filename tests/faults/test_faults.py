"""Every row of the table of faults (table.py), and that there are enough of each kind."""

from collections import Counter

import pytest

from tests.faults import commands, runs, sampling, text  # noqa: F401  puts its rows into the table
from tests.faults.table import KINDS, ROWS, Place


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, monkeypatch)


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_fault(kind, row, place):
    row(place)


def test_each_kind_is_tried_with_at_least_three_relatives():
    counts = Counter(parameters.values[0] for parameters in ROWS)
    assert all(counts[kind] >= 4 for kind in KINDS), counts
