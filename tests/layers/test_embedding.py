import numpy as np
import pytest

from nanograd import Device
from nanograd.layers.embedding import Embedding, LMHead, PositionEmbedding
from tests.support.battery import battery_test, jacobian_test
from tests.support.gpu import array_stub

test_embedding_battery = battery_test("Embedding")
test_embedding_jacobian = jacobian_test("Embedding")
test_position_embedding_battery = battery_test("PositionEmbedding")
test_position_embedding_jacobian = jacobian_test("PositionEmbedding")
test_lm_head_battery = battery_test("LMHead")
test_lm_head_jacobian = jacobian_test("LMHead")


@pytest.mark.parametrize("ids", [[0], [2, 2, 2], [1, 0, 1, 0, 4, 1], list(range(5)) * 7, [4, 3, 3, 0]])
def test_repeated_ids_add_up(float64, ids):
    ids = np.array(ids)
    layer = Embedding(5, 3, device=float64)
    np.testing.assert_array_equal(layer(ids), layer.weight.value[ids])
    dy = np.random.default_rng(0).standard_normal((len(ids), 3))
    assert layer.backward(dy) is None
    expected = np.zeros((5, 3))
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-14, atol=1e-15)


def test_many_ids_over_a_large_table(float64):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1000, (16, 40))
    layer = Embedding(1000, 8, device=float64)
    layer(ids)
    dy = rng.standard_normal((16, 40, 8))
    layer.backward(dy)
    expected = np.zeros((1000, 8))
    np.add.at(expected, ids.reshape(-1), dy.reshape(-1, 8))
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bad", [-1, 5, 1000])
def test_id_outside_the_table_is_refused(float64, bad):
    with pytest.raises(ValueError, match=rf"token id {bad} is outside \[0, 5\)"):
        Embedding(5, 3, device=float64)(np.array([0, bad]))


def test_ids_that_are_no_integers_are_refused(float64):
    with pytest.raises(TypeError, match="must be integers, not float64"):
        Embedding(5, 3, device=float64)([0.0, 1.0])


def test_ids_on_a_gpu_are_checked_before_a_kernel_reads_the_table():
    device = Device(array_stub, dtype="float64")
    table = Embedding(5, 3, device=device)
    with pytest.raises(ValueError, match=r"token id 5 is outside"):
        table(device.asarray(np.array([0, 5])))


def test_positions_count_from_the_first(float64):
    layer = PositionEmbedding(6, 2, device=float64)
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    np.testing.assert_array_equal(layer(x), x + layer.weight.value[:4])
    layer.backward(np.ones((3, 4, 2)))
    np.testing.assert_array_equal(layer.weight.grad, [[3, 3]] * 4 + [[0, 0]] * 2)


@pytest.mark.parametrize("shape", [(4, 2), (3, 7, 2), (3, 4, 3), (1, 3, 4, 2)])
def test_positions_refuse_what_has_another_shape(float64, shape):
    with pytest.raises(ValueError, match=r"expected \(B, T, 2\) with T at most 6"):
        PositionEmbedding(6, 2, device=float64)(np.ones(shape))


def test_tied_table_collects_both_gradients(float64):
    table = Embedding(5, 3, device=float64)
    head = LMHead(5, 3, device=float64, tied=table)
    assert head.weight is table.weight
    ids = np.array([1, 1, 3])
    x = table(ids).copy()
    logits = head(x)
    dlogits = np.random.default_rng(0).standard_normal(logits.shape)
    dx = head.backward(dlogits).copy()
    table.backward(dx)
    expected = dlogits.T @ x
    np.add.at(expected, ids, dx)
    np.testing.assert_allclose(table.weight.grad, expected, rtol=1e-14)


def test_untied_table_is_its_own(float64):
    table = Embedding(5, 3, device=float64)
    head = LMHead(5, 3, device=float64, stream=2)
    assert head.weight is not table.weight
    assert not np.array_equal(head.weight.value, table.weight.value)


@pytest.mark.parametrize("n", [65535, 65536, 65537, 70000])
def test_ids_beyond_16_bits(float64, n):
    """A table of up to 65536 rows has its ids sorted as 16-bit numbers; in a larger one they would wrap."""
    ids = np.array([0, n - 1, 0, max(0, n - 65536), n - 1, 0])
    layer = Embedding(n, 1, device=float64)
    layer(ids)
    dy = np.arange(1.0, 7.0)[:, None]
    layer.backward(dy)
    expected = np.zeros((n, 1))
    np.add.at(expected, ids, dy)
    np.testing.assert_array_equal(layer.weight.grad, expected)


@pytest.mark.parametrize("kind", [Embedding, PositionEmbedding, LMHead])
def test_starts_normal_with_gpt2s_deviation(float64, kind):
    weight = kind(300, 200, device=float64).weight.value
    assert weight.std() == pytest.approx(0.02, rel=0.02) and abs(weight.mean()) < 3e-4
    np.testing.assert_array_equal(kind(300, 200, device=float64, stream=0).weight.value, weight)
    assert kind(300, 200, device=float64, std=0.5).weight.value.std() == pytest.approx(0.5, rel=0.02)
