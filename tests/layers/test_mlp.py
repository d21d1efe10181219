import numpy as np
import pytest

from nanograd.layers.activations import GELU, ReLU
from nanograd.layers.mlp import MLP
from tests.support.battery import battery_test, jacobian_test

test_battery = battery_test("MLP")
test_jacobian = jacobian_test("MLP")


def test_shapes_and_names(float64):
    layer = MLP(3, device=float64)
    assert {name: p.shape for name, p in layer.named_parameters()} == {
        "c_fc.weight": (3, 12),
        "c_fc.bias": (12,),
        "c_proj.weight": (12, 3),
        "c_proj.bias": (3,),
    }
    assert len(dict(MLP(3, device=float64, bias=False).named_parameters())) == 2


def test_is_its_three_layers(float64):
    layer = MLP(3, device=float64)
    x, layer.c_fc.bias.value = np.random.default_rng(0).standard_normal((5, 3)), np.linspace(-0.1, 0.1, 12)
    hidden = np.maximum(x @ layer.c_fc.weight.value + layer.c_fc.bias.value, 0)
    np.testing.assert_allclose(layer(x), hidden @ layer.c_proj.weight.value, rtol=1e-13, atol=1e-17)


def test_activation_by_name(float64):
    assert isinstance(MLP(2, device=float64).activation, ReLU)
    assert isinstance(MLP(2, device=float64, activation="gelu").activation, GELU)
    with pytest.raises(ValueError, match=r"activation must be one of relu, gelu.*, not 'swish'"):
        MLP(2, device=float64, activation="swish")


def test_dropout_is_on_in_training_only(float64):
    layer = MLP(8, device=float64, dropout=0.5)
    x = np.random.default_rng(0).standard_normal((6, 8))
    layer.c_proj.dropout.rng.begin_step(0)
    dropped = layer(x).copy()
    whole = layer.eval()(x).copy()
    assert 10 < (dropped == 0).sum() < 40
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept], rtol=1e-12)


def test_starts_normal_with_gpt2s_deviation_from_two_streams(float64):
    layer = MLP(64, device=float64)
    fc, proj = layer.c_fc.weight.value, layer.c_proj.weight.value
    assert fc.std() == pytest.approx(0.02, rel=0.03) and proj.std() == pytest.approx(0.02, rel=0.03)
    assert not np.array_equal(fc.reshape(-1), proj.reshape(-1))
    other = MLP(64, device=float64, proj_std=0.5, stream=0)
    np.testing.assert_array_equal(other.c_fc.weight.value, fc)
    assert other.c_proj.weight.value.std() == pytest.approx(0.5, rel=0.03)
