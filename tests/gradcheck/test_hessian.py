"""Hessian times vector, sharpness and trace, held against the whole Hessian and against differences."""

import numpy as np
import pytest

from gpt.gradcheck import GPTS, gpt_case
from nanograd.gradcheck import hessian_trace, hessian_vector_product, sharpness
from nanograd.gradcheck.hessian import Hessian, largest_eigenvalue


@pytest.fixture
def case():
    settings = GPTS["GPT: Llama's"] | {"n_layer": 1, "vocab_size": 5}
    model, idx, targets, _ = gpt_case(settings, np.random.default_rng(2))
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.value += 0.3 * rng.standard_normal(parameter.shape)
    return model, idx % 5, targets % 5


def gradients(model, idx, targets):
    model.zero_grad()
    model(idx, targets)
    model.backward()
    return {name: parameter.grad.copy() for name, parameter in model.named_parameters()}


def test_a_product_is_what_the_gradient_changes_by(case):
    model, idx, targets = case
    rng = np.random.default_rng(0)
    u = {name: rng.standard_normal(p.shape) for name, p in model.named_parameters() if name != "ln_f.weight"}
    gradients(model, idx, targets)
    kept = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
    product = hessian_vector_product(model, idx, targets, u)
    assert all(np.array_equal(kept[name], p.grad) for name, p in model.named_parameters())
    h, sides = 1e-6, []
    for step in (h, -2 * h):
        for name, part in u.items():
            dict(model.named_parameters())[name].value[...] += step * part
        sides.append(gradients(model, idx, targets))
    for name, part in product.items():
        slope = (sides[0][name] - sides[1][name]) / (2 * h)
        np.testing.assert_allclose(part, slope, atol=1e-6 * max(np.abs(p).max() for p in product.values()))


def test_sharpness_and_trace_are_those_of_the_whole_hessian(case):
    with Hessian(*case) as hessian:
        whole = np.stack([hessian.product(unit) for unit in np.eye(hessian.size)])
    assert np.abs(whole - whole.T).max() <= 1e-13 * np.abs(whole).max()
    eigenvalues = np.linalg.eigvalsh(whole)
    assert sharpness(*case, steps=60) == pytest.approx(max(eigenvalues, key=abs), rel=1e-3)
    estimate = hessian_trace(*case, vectors=200)
    assert abs(estimate.mean - np.trace(whole)) < 4 * estimate.error < 0.5 * np.abs(eigenvalues).sum()


def test_a_negative_eigenvalue_keeps_its_sign():
    matrix = np.diag([1.0, -5.0, 2.0, 0.0])
    assert largest_eigenvalue(lambda v: matrix @ v, 4) == pytest.approx(-5)
    assert largest_eigenvalue(lambda v: 0 * v, 4) == 0
    assert largest_eigenvalue(lambda v: 3 * v, 1) == pytest.approx(3)


def test_a_direction_that_does_not_fit_is_refused(case):
    with pytest.raises(ValueError, match="no parameter 'nothing'"):
        hessian_vector_product(*case, {"nothing": np.ones(2)})
    with pytest.raises(ValueError, match=r"ln_f.weight has shape \(3,\), expected \(8,\)"):
        hessian_vector_product(*case, {"ln_f.weight": np.ones(3)})


def test_one_vector_of_signs_has_no_known_error(case):
    assert hessian_trace(*case, vectors=1).error == np.inf
