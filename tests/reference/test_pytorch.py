"""The same as PyTorch: recorded values always, PyTorch itself where it is installed.

Errors are relative to the largest number of the same tensor, and for gradients of a model to the largest of all
gradients when that is a thousand times larger.
"""

import numpy as np
import pytest

from tests.support.marks import slow
from tests.support.pytorch import reference_cases as cases

FLOAT64, FLOAT32 = 1e-10, 1e-5
LAYERS = 1e-12
OPTIMIZER, CURVE = 1e-12, 1e-8


@pytest.fixture(params=["recorded", slow("torch")])
def theirs(request):
    """A function: (part, name of the function of torch_reference, its arguments) -> PyTorch's values."""
    if request.param == "torch":
        pytest.importorskip("torch")
        from tests.support.pytorch import torch_reference as reference

        return lambda part, function, *args: getattr(reference, function)(*args)
    with np.load(cases.RECORDED) as file:
        recorded = dict(file)
    return lambda part, *_: {
        name.removeprefix(f"{part}: "): value for name, value in recorded.items() if name.startswith(f"{part}: ")
    }


def expect_same(ours: dict, theirs: dict, bound: float) -> None:
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in ours.items():
        assert value.shape == theirs[name].shape, name
        scale = np.abs(theirs[name]).max()
        assert np.abs(value - theirs[name]).max() <= bound * scale, name


def expect_same_gradients(ours: dict, theirs: dict, bound: float) -> None:
    """Each against the largest of its own parameter, unless that is next to nothing."""
    assert ours.keys() == theirs.keys()
    overall = max(np.abs(value).max() for name, value in theirs.items() if name not in ("loss", "logits"))
    for name, value in ours.items():
        scale = max(np.abs(theirs[name]).max(), 1e-3 * overall)
        error = np.abs(value - theirs[name]).max() / scale
        assert error <= bound, f"{name}: {error:.1e}"


def test_layers(theirs):
    expect_same(cases.our_layers(), theirs("layers", "their_layers"), LAYERS)


@pytest.mark.parametrize("name", cases.MODELS)
def test_model_in_float64(theirs, name):
    expect_same_gradients(cases.our_model(name), theirs(f"model {name}", "their_model", name), FLOAT64)


@pytest.mark.parametrize("name", cases.MODELS)
def test_model_in_float32(name):
    pytest.importorskip("torch")
    from tests.support.pytorch import torch_reference

    ours = cases.our_model(name, "float32")
    assert all(value.dtype == np.float32 for value in ours.values())
    expect_same_gradients(ours, torch_reference.their_model(name, "float32"), FLOAT32)


def test_adamw_and_clipping_over_200_steps(theirs):
    ours, expected = cases.our_optimizer(), theirs("optimizer", "their_optimizer")
    clipped = expected["norms"] > cases.CLIP
    assert 10 < clipped.sum() < cases.STEPS - 10, "some steps must be clipped and some not"
    expect_same(ours, expected, OPTIMIZER)


def test_training_run_of_300_steps(theirs):
    ours, expected = cases.our_run()["losses"], theirs("run", "their_run")["losses"]
    assert len(ours) == 300
    assert ours[0] - ours[-1] > 1, "the run must learn something"
    np.testing.assert_allclose(ours, expected, rtol=0, atol=CURVE)
