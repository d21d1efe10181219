import numpy as np
import pytest

from nanograd.device.rng import RNG, keep_rule


def draw(rng, *shape, p=0.5, dtype=np.float64):
    out = np.empty(shape, dtype=dtype)
    rng.mask(shape, p, out)
    return out


def test_a_samples_mask_depends_on_its_global_index_alone():
    rng = RNG(7)
    rng.begin_step(3)
    whole = [draw(rng, 6, 5), draw(rng, 6, 2, 3)]
    for first, stop in ((0, 2), (2, 3), (3, 6)):
        rng.begin_step(3, first)
        for mask in whole:
            np.testing.assert_array_equal(draw(rng, stop - first, *mask.shape[1:]), mask[first:stop])


def test_seed_step_and_sample_all_matter():
    def mask(seed, step):
        rng = RNG(seed)
        rng.begin_step(step)
        return draw(rng, 2, 64)

    base = mask(1, 1)
    np.testing.assert_array_equal(mask(1, 1), base)
    assert not np.array_equal(mask(2, 1), base)
    assert not np.array_equal(mask(1, 2), base)
    assert not np.array_equal(base[0], base[1])


def test_precision_does_not_change_the_mask():
    one, two = RNG(0), RNG(0)
    np.testing.assert_allclose(draw(one, 3, 9, dtype=np.float32), draw(two, 3, 9), rtol=1e-6)


@pytest.mark.parametrize("p", [1e-9, 0.25, 0.999, 1 - 1e-9])
def test_the_expectation_is_exactly_one(p):
    """65536 equally likely numbers: the number that keep an element, times the scale, is 65536."""
    mask = draw(RNG(0), 40, 5000, p=p)
    scale = mask.max()
    assert scale == pytest.approx(1 / (1 - p), rel=0.02) or (p > 0.99999 and scale in (0, 65536))
    if scale:
        assert 65536 / scale == pytest.approx(round(65536 / scale), abs=1e-9)


def words(seed, step, sample, count):
    """The stream of a sample, from NumPy's own Philox."""
    return np.random.Philox(key=[seed, step], counter=[0, 0, 0, sample]).random_raw(count).view(np.uint16)


def test_masks_are_the_samples_streams_one_after_the_other():
    """Four elements to a word of 64 bits; a mask begins at a word of its own."""
    p = 1 - words(9, 2, 5, 1)[0] / 65536  # so that an element lies on the bound itself
    rng = RNG(9)
    rng.begin_step(2, 4)
    first, second, third = draw(rng, 2, 2, 3, p=p), draw(rng, 2, 8, p=p), draw(rng, 2, 5, p=p)
    keep, scale = keep_rule(p)
    for sample in (4, 5):
        bits = words(9, 2, sample, 6)
        np.testing.assert_array_equal(first[sample - 4].reshape(-1), (bits[:6] < keep) * scale)
        np.testing.assert_array_equal(second[sample - 4], (bits[8:16] < keep) * scale)
        np.testing.assert_array_equal(third[sample - 4], (bits[16:21] < keep) * scale)
    assert first[1].reshape(-1)[0] == 0, "the bound itself is dropped"


def test_rule():
    assert keep_rule(0.25) == (49152, 65536 / 49152)
    assert keep_rule(0.0) == (65536, 1.0)
    assert keep_rule(0.99999999) == (1, 65536.0)


def test_numbers_are_reserved_by_the_word():
    rng = RNG(0)
    assert rng.position == 0
    assert [rng.reserve(size) for size in (1, 4, 5, 8, 0, 1)] == [0, 1, 2, 4, 6, 6]
    assert rng.position == 7
    rng.begin_step(1)
    assert rng.reserve(3) == 0


def test_numbers_that_were_reserved_are_not_given_again():
    """As when a GPU has computed the first mask."""
    one, two = RNG(3), RNG(3)
    draw(one, 2, 6)
    two.reserve(6)
    np.testing.assert_array_equal(draw(one, 2, 7), draw(two, 2, 7))


def test_a_batch_that_grows_finds_its_streams_at_the_same_place():
    one, two = RNG(3), RNG(3)
    draw(one, 1, 6), draw(two, 3, 6)
    np.testing.assert_array_equal(draw(one, 3, 7), draw(two, 3, 7))


def test_a_batch_that_shrinks_goes_on_in_its_streams():
    one, two = RNG(3), RNG(3)
    draw(one, 3, 6), draw(two, 2, 6)
    np.testing.assert_array_equal(draw(one, 2, 7), draw(two, 2, 7))


def test_a_fresh_one_begins_at_step_0():
    fresh, begun = RNG(3), RNG(3)
    begun.begin_step(0)
    np.testing.assert_array_equal(draw(fresh, 2, 50), draw(begun, 2, 50))
