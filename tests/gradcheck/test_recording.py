import numpy as np

from nanograd import Device
from nanograd.gradcheck.facts import facts_of, recorded
from nanograd.layers import MLP


def test_recording_leaves_no_trace():
    mlp = MLP(8, device=Device("numpy", dtype="float64"))
    x = np.random.default_rng(0).standard_normal((2, 3, 8))
    expected = mlp(x).copy()
    expected_dx = mlp.backward(x).copy()
    mlp.zero_grad()
    with recorded(mlp) as found:
        y, dx = mlp(x).copy(), None
        dx = mlp.backward(x).copy()
    assert np.array_equal(y, expected) and np.array_equal(dx, expected_dx)
    assert all("forward" not in vars(layer) and "backward" not in vars(layer) for _, layer in mlp.named_layers())
    assert set(found) == {"c_fc", "activation", "c_proj"}
    assert all(fact.ok for fact in facts_of(found, "float64"))
