import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.diagnose.text_statistics import COPIED_LENGTHS, copied_share, distinct_n, hashes, pair_loss


def test_distinct_n_by_hand():
    assert distinct_n([[1, 2, 3, 4, 5]], 4) == 1
    assert distinct_n([[1, 1, 1, 1, 1]], 4) == 0.5
    assert distinct_n([[1, 1, 1, 1, 1], [1, 2, 3, 4, 5], [1]], 4) == 0.75
    assert math.isnan(distinct_n([[1, 2]], 4))


@given(st.lists(st.integers(0, 3), max_size=80), st.lists(st.integers(0, 3), max_size=40), st.sampled_from([2, 4, 8]))
def test_copied_share_is_its_definition(text, sample, n):
    grams = [tuple(sample[i : i + n]) for i in range(len(sample) - n + 1)]
    there = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
    found = copied_share([sample], np.array(text, dtype=np.uint16), n, 4)
    assert math.isnan(found) if not grams else found == pytest.approx(sum(g in there for g in grams) / len(grams))


@pytest.mark.parametrize("n", COPIED_LENGTHS)
def test_copies_that_span_two_pieces_are_found(monkeypatch, n):
    monkeypatch.setattr("gpt.diagnose.text_statistics.PIECE", 100)
    text = np.random.default_rng(0).integers(0, 1000, 1000)
    assert copied_share([text[60 : 60 + 2 * n]], text, n, 1000) == 1
    assert copied_share([text[60 : 60 + 2 * n][::-1]], text, n, 1000) == 0


def test_order_matters_to_a_hash():
    codes = np.array([3, 5, 5, 3, 3, 5], dtype=np.uint64)
    found = hashes(codes, 2)
    assert len(found) == 5 and found[0] == found[4] and len(set(found.tolist())) == 4


def test_pair_loss_of_a_text_that_pairs_determine_is_small():
    text = np.tile([0, 1, 2, 3], 5000)
    assert pair_loss(text, text[:1001], 4) < 0.01
    noise = np.random.default_rng(0).integers(0, 8, 50_000)
    assert pair_loss(noise[:40_000], noise[40_000:], 8) == pytest.approx(math.log(8), rel=0.01)


def test_pair_loss_by_hand():
    # single = [2, 2]; pairs 0->1 twice, 1->0 once. p(1) = 3/6; p(1 | 0) = (2 + 5) / (2 + 10)
    assert pair_loss(np.array([0, 1, 0, 1]), np.array([0, 1]), 2) == pytest.approx(-math.log(7 / 12))
