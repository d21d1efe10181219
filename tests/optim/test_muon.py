"""Muon: its update, what it leaves to AdamW, and who shares the work."""

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd import AdamW, Device, Layer, Muon, Parameter
from nanograd.device.threads import ThreadPool
from nanograd.layers.linear import Linear
from nanograd.optim import muon
from nanograd.optim.matrices import Matrix
from nanograd.optim.muon import UNIT, newton_schulz, orthogonalize
from tests.support.pytorch import reference_cases as cases

SHAPES = [(5, 5), (3, 7), (7, 3), (4, 8), (8, 4), (1, 6), (6, 1), (128, 128), (128, 512), (512, 128)]  # (in, out)
OTHERS = {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.1}


def plain(g, steps=5):  # (m, n) -> the update before any rate, in float64
    """The steps as they are defined."""
    x = g.astype(np.float64) / np.linalg.norm(g)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
    return x


def gaussian(rng, shape):
    return rng.standard_normal(shape)


def nearly_singular(rng, shape):
    """Singular values from 1 down to 1e-5."""
    left, right = (np.linalg.qr(rng.standard_normal((n, min(shape))))[0] for n in shape)
    return left * np.logspace(0, -5, min(shape)) @ right.T


def updated(g, dtype=np.float64, v=None):
    u = g.astype(dtype)
    orthogonalize([Matrix(u, v)])
    return u


@pytest.mark.parametrize("make", [gaussian, nearly_singular])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-10), (np.float32, 1e-3)])
def test_the_update_is_that_of_five_plain_steps(make, shape, dtype, bound):
    g = make(np.random.default_rng(1), shape)
    expected = plain(g) if shape[0] <= shape[1] else plain(g.T).T
    expected *= max(1, shape[1] / shape[0]) ** 0.5
    u = updated(g, dtype)
    assert u.dtype == dtype
    assert np.abs(u - expected).max() <= bound * np.abs(expected).max()


def test_the_singular_values_of_a_gaussian_matrix_come_near_1():
    for seed in range(3):
        g = np.random.default_rng(seed).standard_normal((128, 128))
        values = np.linalg.svd(updated(g, np.float32), compute_uv=False)
        assert np.mean((values > 0.65) & (values < 1.25)) >= 0.95
        assert 0.01 < values.min() < 0.65, "five steps do not lift the smallest"


def test_the_update_is_near_the_polar_factor_and_has_its_vectors():
    g = np.random.default_rng(0).standard_normal((6, 20))
    left, _, right = np.linalg.svd(g, full_matrices=False)
    turned = left.T @ (updated(g) / (20 / 6) ** 0.5) @ right.T
    np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-12)
    assert 0.65 < np.diag(turned).min() <= np.diag(turned).max() < 1.25


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_size_of_a_gradient_does_not_matter(scale):
    g = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_allclose(updated(g * np.float32(scale), np.float32), updated(g, np.float32), rtol=1e-3, atol=1e-5)


def test_matrices_of_a_batch_do_not_see_each_other():
    rng = np.random.default_rng(0)
    for shape in ((128, 128), (128, 512)):
        together = [Matrix(rng.standard_normal(shape).astype(np.float32), None) for _ in range(3)]
        alone = [Matrix(matrix.u.copy(), None) for matrix in together]
        orthogonalize(together)
        for one, other in zip(alone, together, strict=True):
            orthogonalize([one])
            np.testing.assert_array_equal(one.u, other.u)


@pytest.mark.parametrize("shape", [(4, 4), (3, 8)])
def test_newton_schulz_leaves_what_it_is_given(shape):
    x = np.random.default_rng(0).standard_normal((2, *shape)) * (UNIT / 10)
    before = x.copy()
    newton_schulz(x)
    np.testing.assert_array_equal(x, before)


def test_zeros_stay_zeros_and_nothing_becomes_nan():
    for shape in SHAPES:
        v = np.zeros(shape[1], np.float32)
        assert not updated(np.zeros(shape), np.float32, v).any() and not v.any()
    g = np.random.default_rng(0).standard_normal((4, 6))
    g[:, 2] = 0
    u = updated(g, np.float32, np.zeros(6, np.float32))
    assert np.isfinite(u).all() and not u[:, 2].any() and np.abs(u).max() < 2


def test_scaled_rows_have_one_size_and_the_whole_keeps_its_norm():
    g = np.random.default_rng(0).standard_normal((6, 9)) * np.linspace(0.01, 1, 9)
    before = updated(g)
    v = np.zeros(9)
    u = updated(g, v=v)
    sizes = np.linalg.norm(u, axis=0)
    np.testing.assert_allclose(sizes, sizes.mean(), rtol=1e-6)
    assert np.linalg.norm(u) == pytest.approx(np.linalg.norm(before))
    assert np.linalg.norm(before, axis=0).std() > 0.02
    mean_squares = (before**2).sum(0)
    np.testing.assert_allclose(v / v.sum(), mean_squares / mean_squares.sum())
    updated(g[:, ::-1].copy(), v=v)
    np.testing.assert_allclose(v / v.sum(), (0.95 * mean_squares + mean_squares[::-1]) / 1.95 / mean_squares.sum())


# The optimiser


class Net(Layer):
    """What Muon takes, with two matrices side by side, and what it leaves."""

    def __init__(self, device, n=4):
        self.first = Linear(n, 3 * n, device=device)
        self.first.weight.widths = (n, 2 * n)
        self.table = Parameter(device.full((5, n), 0.5))
        self.last = Linear(3 * n, n, device=device, stream=1)


def gradients(model, step, scale=1.0):
    for number, (_, parameter) in enumerate(model.named_parameters()):
        rng = np.random.default_rng([step, number])
        parameter.grad[...] = scale * rng.standard_normal(parameter.shape)


def trained(model, optimizer, steps=3, first=0, grad_scale=1.0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        gradients(model, step)
        optimizer.step(grad_scale)
    return model.state_dict()


def test_the_step_is_that_of_the_formula(float64):
    model = Net(float64)
    weights = {"first": model.first.weight, "last": model.last.weight}
    expected = {name: weight.value.copy() for name, weight in weights.items()}
    momenta = dict.fromkeys(weights, 0.0)
    optimizer = Muon(model, muon_lr=0.1, momentum=0.7, weight_decay=0.3)
    for step in range(3):
        gradients(model, step)
        for name, weight in weights.items():
            g = 0.5 * weight.grad
            momenta[name] = 0.7 * momenta[name] + g
            u = g + 0.7 * momenta[name]
            pieces = [u[:, :4], u[:, 4:]] if name == "first" else [u]
            shaped = [plain(p) if p.shape[0] <= p.shape[1] else plain(p.T).T for p in pieces]
            shaped = [p * max(1, p.shape[1] / p.shape[0]) ** 0.5 for p in shaped]
            expected[name] = (1 - 0.1 * 0.3) * expected[name] - 0.1 * np.concatenate(shaped, axis=1)
        optimizer.step(0.5)
    for name, weight in weights.items():
        np.testing.assert_allclose(weight.value, expected[name], atol=1e-12)


def test_all_but_the_weights_of_linear_layers_is_left_to_adamw(float64):
    by_muon, by_adamw = Net(float64), Net(float64)
    ours = trained(by_muon, Muon(by_muon, **OTHERS))
    theirs = trained(by_adamw, AdamW(by_adamw, **OTHERS))
    for name, value in ours.items():
        same = np.array_equal(value, theirs[name])
        assert same == (name not in ("first.weight", "last.weight")), name


def test_embeddings_and_the_head_are_no_matrices_of_muon(float64):
    model = GPT(GPTConfig(5, n_layer=1, n_head=2, n_embd=4, block_size=3), float64)
    state = Muon(model).state_dict()
    assert sorted(name for name in state if name.startswith("momentum.")) == [
        *("momentum.h.0.attn.c_attn.weight", "momentum.h.0.attn.c_proj.weight"),
        *("momentum.h.0.mlp.c_fc.weight", "momentum.h.0.mlp.c_proj.weight"),
    ]
    assert not any(name in state for name in ("exp_avg.h.0.attn.c_attn.weight", "exp_avg_sq.h.0.mlp.c_fc.weight"))
    assert {"exp_avg.wte.weight", "exp_avg.lm_head.weight", "exp_avg_sq.h.0.mlp.c_fc.bias"} <= state.keys()


def test_queries_keys_and_values_are_matrices_of_their_own(float64):
    model = GPT(GPTConfig(5, n_layer=1, n_head=2, n_embd=4, block_size=3), float64)
    before = model.h[0].attn.c_attn.weight.value.copy()
    optimizer = Muon(model, muon_lr=1.0, weight_decay=0.0)
    gradients(model, 0)
    optimizer.step()
    change = before - model.h[0].attn.c_attn.weight.value
    for start in (0, 4, 8):
        values = np.linalg.svd(change[:, start : start + 4], compute_uv=False)
        assert values.max() < 1.25 and np.sum(values > 0.65) >= 3


def test_a_model_without_linear_layers_is_adamws(float64):
    class Bag(Layer):
        def __init__(self):
            self.table = Parameter(float64.full((2, 3), 1.0))

    one, two = Bag(), Bag()
    np.testing.assert_array_equal(trained(one, Muon(one))["table"], trained(two, AdamW(two))["table"])


@pytest.mark.parametrize("scale_rows", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(scale_rows, dtype):
    states = []
    for n, workers in ((1, None), (3, None), (3, 1), (2, 2)):
        model = Net(Device("numpy", dtype), n=32)
        states.append(trained(model, Muon(model, pool=ThreadPool(n), workers=workers, scale_rows=scale_rows)))
    for state in states[1:]:
        for name, value in state.items():
            np.testing.assert_array_equal(value, states[0][name])


class FakeRanks:
    """Ranks that take turns: what one sends is kept until all have sent."""

    def __init__(self, size):
        self.size, self.rank, self.sent = size, 0, []

    def all_reduce(self, array):
        self.sent[self.rank].append(array)


@pytest.mark.parametrize("scale_rows", [False, True])
def test_ranks_share_the_matrices_and_get_the_same_bits(float64, scale_rows, monkeypatch):
    """One rank after the other makes its part; the sum is what one process makes of all of them."""
    alone = Net(float64, n=8)
    whole = Muon(alone, scale_rows=scale_rows)
    trained(alone, whole, steps=2)
    expected = [*(u.copy() for u in whole.updates), *(v.copy() for v in whole.squares.values())]
    made = []
    monkeypatch.setattr(muon, "orthogonalize", lambda batch: made.append(len(batch)) or orthogonalize(batch))
    parts = []
    for rank in range(3):
        model, ranks = Net(float64, n=8), FakeRanks(3)
        ranks.rank, ranks.sent = rank, [[] for _ in range(3)]
        optimizer = Muon(model, scale_rows=scale_rows, ranks=ranks)
        for step in range(2):  # the first step's exchange: the others' mean squares are not needed for one's own
            gradients(model, step)
            ranks.sent[rank].clear()
            optimizer.step()
        parts.append([array.copy() for array in ranks.sent[rank]])
    assert sum(made) == 2 * 3 and len(made) >= 4, "each matrix is made by one rank"
    for arrays, total in zip(zip(*parts, strict=True), expected, strict=True):
        np.testing.assert_array_equal(sum(arrays), total)


@pytest.mark.parametrize("scale_rows", [False, True])
def test_state_goes_round_and_training_goes_on_the_same(float64, scale_rows):
    one, two = Net(float64), Net(float64)
    first, second = (Muon(model, scale_rows=scale_rows) for model in (one, two))
    trained(one, first, 3)
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    mine, its = trained(one, first, 3, first=3), trained(two, second, 3, first=3)
    for name, value in (mine | first.state_dict()).items():
        np.testing.assert_array_equal((its | second.state_dict())[name], value)
    assert ("mean_square.first.weight" in first.state_dict()) == scale_rows
    assert first.state_dict()["momentum.first.weight"].shape == (4, 12)


def test_state_that_does_not_fit_is_refused_and_changes_nothing(float64):
    model = Net(float64)
    optimizer = Muon(model)
    trained(model, optimizer)
    before = optimizer.state_dict()
    for state in (AdamW(Net(float64)).state_dict(), Muon(Net(float64), scale_rows=True).state_dict()):
        with pytest.raises(ValueError, match=r"(missing|unexpected) optimizer tensors: "):
            optimizer.load_state_dict(state)
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_arrays_are_all_that_a_step_remembers(float64):
    model = Net(float64)
    optimizer = Muon(model, scale_rows=True)
    trained(model, optimizer)
    remembered = {name: value for name, value in optimizer.state_dict(copy=False).items() if name != "step"}
    for name, value in remembered.items():
        assert any(np.shares_memory(value, array) for array in optimizer.arrays()), name
    assert sum(array.size for array in optimizer.arrays()) == sum(value.size for value in remembered.values())


def test_the_scale_of_clipping_reaches_muon(float64):
    one, two = Net(float64), Net(float64)
    optimizers = [Muon(model, momentum=0.5) for model in (one, two)]
    for step, scale in enumerate((1.0, 0.25)):
        for model, optimizer, own in ((one, optimizers[0], 1.0), (two, optimizers[1], scale)):
            gradients(model, step, scale / own)
            optimizer.step(own)
    for name, value in one.state_dict().items():
        np.testing.assert_allclose(two.state_dict()[name], value, atol=1e-7)


def test_defaults(float64):
    optimizer = Muon(Net(float64))
    assert (optimizer.muon_lr, optimizer.momentum, optimizer.squares) == (0.02, 0.95, {})
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay) == (3e-4, (0.9, 0.95), 0.01)


@pytest.mark.parametrize("scale_rows", [False, True])
def test_as_pytorch_after_200_steps(scale_rows):
    torch = pytest.importorskip("torch")
    from tests.support.pytorch import torch_muon

    model, settings = cases.optimizer_model(), {"muon_lr": 0.02, "momentum": 0.9}
    start = model.state_dict()
    optimizer = Muon(model, **cases.ADAMW, **settings, scale_rows=scale_rows)
    own = [name for name in start if name.startswith("h.") and name.endswith("weight") and start[name].ndim == 2]
    split = {n: np.split(start[n], 3, axis=1) if "c_attn" in n else [start[n]] for n in own}
    theirs = {n: [torch.tensor(p.T.copy(), requires_grad=True) for p in pieces] for n, pieces in split.items()}
    weights = [piece for pieces in theirs.values() for piece in pieces]
    reference = torch_muon.Muon(weights, 0.02, 0.9, cases.ADAMW["weight_decay"], scale_rows)
    for step in range(200):
        optimizer.zero_grad()
        for name, parameter in model.named_parameters():
            parameter.grad += cases.gradient_at(step, name, parameter.shape)
            for i, piece in enumerate(theirs.get(name, ())):
                width = parameter.shape[1] // len(theirs[name])
                piece.grad = torch.tensor(parameter.grad[:, i * width : (i + 1) * width].T.copy())
        optimizer.muon_lr = reference.param_groups[0]["lr"] = 0.02 * (1 + step % 5) / 5
        optimizer.step()
        reference.step()
    for name, pieces in theirs.items():
        expected = np.concatenate([piece.detach().numpy().T for piece in pieces], axis=1)
        ours = model.state_dict()[name]
        assert np.abs(ours - start[name]).max() > 0.1, "something must have happened"
        assert np.abs(ours - expected).max() <= 1e-10 * np.abs(expected).max(), name


# On a GPU


def test_a_step_on_a_gpu_is_that_of_the_cpu(gpu_xp):
    states = []
    for device in (Device("numpy", "float64"), Device("cupy", "float64")):
        model = Net(device)
        optimizer = Muon(model, muon_lr=0.1, scale_rows=True)
        for step in range(3):
            for number, (_, parameter) in enumerate(model.named_parameters()):
                rng = np.random.default_rng([step, number])
                parameter.grad = device.asarray(rng.standard_normal(parameter.shape))
            optimizer.step(0.5)
        states.append(model.state_dict() | optimizer.state_dict())
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, atol=1e-10, err_msg=name)


def test_a_step_on_a_gpu_waits_for_nothing(gpu_xp, waits):
    model = Net(Device("cupy"))
    optimizer = Muon(model, scale_rows=True)
    for _ in range(2):  # the first compiles
        waits()
        optimizer.step(gpu_xp.asarray(np.array(0.5)))
    assert not waits()


def test_a_gradient_that_is_not_finite_changes_no_parameter_on_a_gpu(gpu_xp):
    model = Net(Device("cupy"))
    optimizer = Muon(model, scale_rows=True)
    before = model.state_dict()
    for parameter in model.parameters():
        parameter.grad[...] = np.nan
    optimizer.step(gpu_xp.asarray(np.array(np.nan)))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(optimizer.state_dict()[f"momentum.{name}.weight"].any() for name in ("first", "last"))
