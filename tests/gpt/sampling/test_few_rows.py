"""Products in blocks are the products, for every shape, layout and number of threads."""

import numpy as np
import pytest

from gpt.sampling import few_rows, reading
from gpt.sampling.few_rows import DEEP, MOST, few_rows_product, pool_for_few_rows
from gpt.sampling.kv_cache import Decoder
from nanograd.device.threads import ThreadPool
from tests.gpt.sampling.test_sliding_window import CONFIGS, LEARNED, V, model_of

SHAPES = [(1, 1), (DEEP, 5), (DEEP - 1, 900), (2 * DEEP, 2000), (3 * DEEP + 7, 1537), (700, 1030)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [2, 5, MOST])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_add_up(shape, rows, threads):
    rng = np.random.default_rng(0)
    x, matrix = rng.standard_normal((rows, shape[0])), rng.standard_normal(shape)
    for stored in (matrix, np.asfortranarray(matrix)):
        out = np.full((rows, shape[1]), np.nan)
        y = few_rows_product(x, stored, ThreadPool(threads), out)
        assert y is out
        np.testing.assert_allclose(y, x @ matrix, rtol=0, atol=1e-11)
    assert few_rows_product(x.astype(np.float32), matrix.astype(np.float32), ThreadPool(threads)).dtype == np.float32


@pytest.mark.parametrize("name", [*CONFIGS, *LEARNED])
def test_a_large_model_read_in_blocks_gives_the_same(name, monkeypatch):
    monkeypatch.setattr(reading, "FOLD_AT_MOST", 0)
    model = model_of((CONFIGS | LEARNED)[name])
    ids, both = np.random.default_rng(1).integers(0, V, (3, 6)), []
    for pool in (None, ThreadPool(2)):
        monkeypatch.setattr(reading, "pool_for_few_rows", lambda pool=pool: pool)
        decoder = Decoder(model, 3)
        decoder.prefill(ids[:, :2])
        both.append([np.array(decoder.decode(column)) for column in ids[:, 2:].T])
    np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("architecture, threads", [("SkylakeX", 3), ("Haswell", None)])
def test_it_pays_with_avx512_alone(architecture, threads, monkeypatch):
    info = [{"internal_api": "openmp"}, {"internal_api": "openblas", "architecture": architecture, "num_threads": 3}]
    monkeypatch.setattr(few_rows, "threadpool_info", lambda: info)
    pool = pool_for_few_rows()
    assert (pool and pool.size) == threads
