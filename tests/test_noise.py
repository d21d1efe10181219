import numpy as np
import pytest

from nanograd.noise import Noise


def draw(noise, *shape, p=0.5, dtype=np.float64):
    out = np.empty(shape, dtype=dtype)
    noise.mask(shape, p, out)
    return out


def test_a_samples_mask_depends_on_its_global_index_alone():
    noise = Noise(7)
    noise.begin(3)
    whole = [draw(noise, 6, 5), draw(noise, 6, 2, 3)]
    for first, stop in ((0, 2), (2, 3), (3, 6)):
        noise.begin(3, first)
        for mask in whole:
            np.testing.assert_array_equal(draw(noise, stop - first, *mask.shape[1:]), mask[first:stop])


def test_seed_step_and_sample_all_matter():
    def mask(seed, step):
        noise = Noise(seed)
        noise.begin(step)
        return draw(noise, 2, 64)

    base = mask(1, 1)
    np.testing.assert_array_equal(mask(1, 1), base)
    assert not np.array_equal(mask(2, 1), base)
    assert not np.array_equal(mask(1, 2), base)
    assert not np.array_equal(base[0], base[1])


def test_precision_does_not_change_the_mask():
    one, two = Noise(0), Noise(0)
    np.testing.assert_allclose(draw(one, 3, 9, dtype=np.float32), draw(two, 3, 9), rtol=1e-6)


@pytest.mark.parametrize("p", [1e-9, 0.25, 0.999, 1 - 1e-9])
def test_the_expectation_is_exactly_one(p):
    """65536 equally likely numbers: the number that keep an element, times the scale, is 65536."""
    mask = draw(Noise(0), 40, 5000, p=p)
    scale = mask.max()
    assert scale == pytest.approx(1 / (1 - p), rel=0.02) or (p > 0.99999 and scale in (0, 65536))
    if scale:
        assert 65536 / scale == pytest.approx(round(65536 / scale), abs=1e-9)
