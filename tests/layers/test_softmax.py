import numpy as np
import pytest

from nanograd.layers.softmax import all_small, exp_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("offset", [0, 19, 25, -25, 90, 1e4, -1e4])
def test_ratios_are_those_of_exp_and_nothing_overflows(dtype, offset):
    scores = (np.array([[0.0, 1.0, 2.0], [3.0, 3.0, -3.0]]) + offset).astype(dtype)
    e = np.empty_like(scores)
    shift = exp_rows(scores, e)
    assert np.isfinite(e).all() and (e.sum(-1).real > 0).all()
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(-1, keepdims=True), expected / expected.sum(-1, keepdims=True), rtol=1e-5)
    if shift is not None:
        np.testing.assert_allclose(e, np.exp(scores - shift))


def test_rows_far_apart_each_have_their_own_shift():
    scores = np.array([[1e4, 0.0], [-1e4, -1e4], [0.0, 0.0]])
    e = np.empty_like(scores)
    exp_rows(scores, e)
    np.testing.assert_allclose(e / e.sum(-1, keepdims=True), [[1, 0], [0.5, 0.5], [0.5, 0.5]])


def test_minus_infinity_is_probability_zero():
    scores = np.array([[-np.inf, 2.0, 2.0]])
    e = np.empty_like(scores)
    exp_rows(scores, e)
    np.testing.assert_array_equal(e / e.sum(), [[0, 0.5, 0.5]])


def test_in_place():
    scores = np.array([[1.0, 50.0]])
    expected = np.empty_like(scores)
    shift = exp_rows(scores, expected)
    again = scores.copy()
    np.testing.assert_array_equal(exp_rows(again, again), shift)
    np.testing.assert_array_equal(again, expected)


def test_nan_stays_nan():
    scores = np.array([[np.nan, 0.0]])
    e = np.empty_like(scores)
    exp_rows(scores, e)
    assert np.isnan(e).any()


def test_rows_are_the_last_axis():
    scores = np.random.default_rng(0).standard_normal((2, 3, 4, 5)) * 100
    e = np.empty_like(scores)
    shift = exp_rows(scores, e)
    np.testing.assert_array_equal(shift, scores.max(-1, keepdims=True))
    np.testing.assert_array_equal(e, np.exp(scores - shift))


def test_no_scores_are_no_trouble():
    scores = np.empty((0, 3))
    assert exp_rows(scores, scores).shape == (0, 1)


def test_what_was_found_small_before_the_mask_is_not_looked_at_again():
    scores = np.array([[1.0, -np.inf]])
    e = np.empty_like(scores)
    assert exp_rows(scores, e, small=True) is None
    np.testing.assert_array_equal(e, [[np.e, 0]])
    assert exp_rows(scores, e, small=False).tolist() == [[1.0]]
    assert exp_rows(np.ones((1, 2)), e) is None and exp_rows(np.full((1, 2), 30.0), e) is not None
    assert all_small(np.array([19.9, -19.9])) and not all_small(np.array([0, 21])) and not all_small(np.array([0, -21]))
