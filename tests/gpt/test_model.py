"""The whole GPT; test_reference.py compares it with PyTorch."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from nanograd import AdamW, Device, clip_grad_norm
from nanograd.gradcheck.check import check_model
from nanograd.layers.rope import rope_frequencies
from tests.support.battery import battery_test, jacobian_test
from tests.support.marks import slow

test_block_battery = battery_test("Block")
test_block_jacobian = jacobian_test("Block")

LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "bias": False}
QWEN3 = LLAMA | {"head_dim": 4, "qk_norm": "rms_weight", "rope_theta": 1e6, "norm_eps": 1e-6, "tie_weights": True}
SPEEDRUN = LLAMA | {"n_kv_head": None, "activation": "relu2", "qk_norm": "rms", "zero_init": True}
LLAMA3_ROPE = {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_context": 8}

SMALL = {"vocab_size": 7, "block_size": 5, "n_layer": 2, "n_head": 2, "n_embd": 4}


def gpt(device, **settings):
    return GPT(GPTConfig(**(SMALL | settings)), device)


def batch(B=2, T=5, V=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))


@pytest.mark.parametrize(
    "settings, B, T",
    [
        ({}, 2, 5),
        slow({"tie_weights": True}, 2, 5),
        ({"activation": "gelu", "bias": False}, 2, 5),
        slow({"activation": "gelu", "qkv_bias": True, "tie_weights": True, "dropout": 0.2}, 2, 5),
        ({"dropout": 0.5}, 3, 4),
        ({}, 2, 1),
        slow({}, 1, 3),
        ({"vocab_size": 1}, 2, 3),
        ({"n_embd": 1, "n_head": 1}, 2, 3),
        ({"n_layer": 1, "block_size": 1}, 1, 1),
        slow(LLAMA, 2, 5),
        slow(LLAMA | LLAMA3_ROPE | {"dropout": 0.3, "n_head": 4, "n_kv_head": 2, "n_embd": 8}, 2, 5),
        (LLAMA | {"qkv_bias": True, "n_inner": 3}, 1, 4),
        (QWEN3, 2, 5),
        slow(SPEEDRUN, 2, 5),
        slow({"position": "rope", "qk_norm": "rms", "n_embd": 8}, 2, 3),
        slow({"activation": "swiglu"}, 2, 3),
    ],
)
def test_every_gradient(float64, settings, B, T):
    model = gpt(float64, **settings)
    report = check_model(model, *batch(B, T, model.config.vocab_size))
    assert report.full and report.method == "complex step" and report.ok, report


@pytest.mark.slow
def test_every_gradient_by_differences(float64):
    report = check_model(gpt(float64, n_layer=1), *batch(1, 4), method="differences")
    assert report.full and report.ok, report


def test_only_repeated_ids(float64):
    idx = np.full((2, 5), 3)
    report = check_model(gpt(float64, tie_weights=True), idx, idx)
    assert report.ok, report


@pytest.mark.parametrize("V", [2, 65, 512])
def test_initial_loss_is_ln_v(V):
    """To two digits: random small weights make nearly equal logits."""
    model = gpt(Device("numpy", seed=0), vocab_size=V, block_size=32, n_embd=64)
    _, loss = model(*batch(8, 32, V))
    assert float(loss) == pytest.approx(math.log(V), abs=0.03)


def test_names_are_gpt2s(float64):
    shapes = {name: p.shape for name, p in gpt(float64, n_layer=1, qkv_bias=True).named_parameters()}
    assert shapes == {
        "wte.weight": (7, 4),
        "wpe.weight": (5, 4),
        "h.0.ln_1.weight": (4,),
        "h.0.ln_1.bias": (4,),
        "h.0.attn.c_attn.weight": (4, 12),
        "h.0.attn.c_attn.bias": (12,),
        "h.0.attn.c_proj.weight": (4, 4),
        "h.0.attn.c_proj.bias": (4,),
        "h.0.ln_2.weight": (4,),
        "h.0.ln_2.bias": (4,),
        "h.0.mlp.c_fc.weight": (4, 16),
        "h.0.mlp.c_fc.bias": (16,),
        "h.0.mlp.c_proj.weight": (16, 4),
        "h.0.mlp.c_proj.bias": (4,),
        "ln_f.weight": (4,),
        "ln_f.bias": (4,),
        "lm_head.weight": (7, 4),
    }


def test_names_of_a_llama_and_a_qwen3(float64):
    shapes = {name: p.shape for name, p in gpt(float64, n_layer=1, n_inner=6, **LLAMA).named_parameters()}
    assert shapes == {
        "wte.weight": (7, 4),
        "h.0.ln_1.weight": (4,),
        "h.0.attn.c_attn.weight": (4, 8),
        "h.0.attn.c_proj.weight": (4, 4),
        "h.0.ln_2.weight": (4,),
        "h.0.mlp.c_gate.weight": (4, 6),
        "h.0.mlp.c_fc.weight": (4, 6),
        "h.0.mlp.c_proj.weight": (6, 4),
        "ln_f.weight": (4,),
        "lm_head.weight": (7, 4),
    }
    shapes = {name: p.shape for name, p in gpt(float64, n_layer=1, **QWEN3).named_parameters()}
    assert shapes["h.0.attn.q_norm.weight"] == shapes["h.0.attn.k_norm.weight"] == (4,)
    assert shapes["h.0.attn.c_attn.weight"] == (4, 16) and shapes["h.0.attn.c_proj.weight"] == (8, 4)
    assert not [name for name in gpt(float64, **SPEEDRUN).state_dict() if "q_norm" in name]


def test_zero_init_makes_every_block_the_identity_at_the_start(float64):
    model = gpt(float64, **SPEEDRUN)
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    for block in model.h:
        np.testing.assert_array_equal(block(x), x)
    assert gpt(float64, **(SPEEDRUN | {"zero_init": False})).h[0].mlp.c_proj.weight.value.any()


@pytest.mark.parametrize("settings", [{}, QWEN3])
def test_eps_and_ropes_settings_reach_their_layers(float64, settings):
    model = gpt(float64, **(settings | {"norm_eps": 0.25}))
    norms = [layer for _, layer in model.named_layers() if hasattr(layer, "eps")]
    assert len(norms) == (9 if settings else 5) and all(layer.eps == 0.25 for layer in norms)
    if settings:
        model = gpt(float64, **(QWEN3 | LLAMA3_ROPE))
        settings = {"scaling": "llama3", "factor": 8.0, "original_context": 8}
        expected = rope_frequencies(4, 1e6, **settings)
        assert [block.attn.rope.frequencies for block in model.h] == [tuple(expected)] * 2


def test_no_two_matrices_of_a_llama_start_from_the_same_numbers(float64):
    model = gpt(float64, **(LLAMA | {"n_embd": 8, "vocab_size": 20}))
    matrices = [p.value.reshape(-1) for p in model.parameters() if p.value.ndim == 2]
    starts = {tuple(np.round(matrix[:4] / matrix[0], 6)) for matrix in matrices}
    assert len(starts) == len(matrices)


def test_tied_head_has_no_entry_of_its_own(float64):
    model = gpt(float64, tie_weights=True)
    assert "lm_head.weight" not in model.state_dict()
    assert model.n_parameters() == sum(value.size for value in model.state_dict().values())


def test_starts_as_gpt2_does():
    model = gpt(Device("numpy", dtype="float64", seed=0), n_embd=128, n_head=4, n_layer=8, vocab_size=500)
    for name, p in model.named_parameters():
        if "ln_" in name and name.endswith("weight"):
            assert (p.value == 1).all()
        elif name.endswith("bias"):
            assert not p.value.any()
        else:
            std = 0.02 / math.sqrt(16) if "c_proj" in name else 0.02
            assert p.value.std() == pytest.approx(std, rel=0.1), name
    matrices = [p.value.reshape(-1) for p in model.parameters() if p.value.ndim == 2]
    starts = {tuple(np.round(matrix[:4] / matrix[0], 6)) for matrix in matrices}
    assert len(starts) == len(matrices), "no two are drawn from the same numbers"


def test_seed_decides_the_start():
    one, two, other = (gpt(Device("numpy", seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["wte.weight"], other["wte.weight"])


def test_without_targets_there_is_no_loss(float64):
    model = gpt(float64)
    idx, targets = batch()
    logits, loss = model(idx)
    assert loss is None and logits.shape == (2, 5, 7)
    kept = logits.copy()
    np.testing.assert_array_equal(model(idx.tolist(), targets.tolist())[0], kept)


def test_no_logit_sees_the_future(float64):
    model = gpt(float64)
    idx, _ = batch()
    before = model(idx)[0].copy()
    idx[:, 3:] = (idx[:, 3:] + 1) % 7
    after = model(idx)[0]
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert not np.array_equal(after[:, 3], before[:, 3])


@pytest.mark.parametrize("tie_weights", [False, True])
def test_backward_twice_needs_a_forward_between(float64, tie_weights):
    model = gpt(float64, tie_weights=tie_weights)
    idx, targets = batch()
    with pytest.raises(RuntimeError, match="forward"):
        model.backward()
    model(idx, targets)
    model.backward()
    first = {name: p.grad.copy() for name, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match="forward"):
        model.backward()
    model(idx, targets)
    model.backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, 2 * first[name], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    "idx, targets, error",
    [
        ([[0, 7]], None, "7 is outside"),
        ([[0, -1]], None, "-1 is outside"),
        ([[0, 1]], [[0, 7]], "7 is outside"),
        ([[0] * 6], None, "block_size 5"),
        (np.zeros((1, 0), dtype=int), None, "block_size"),
        (np.zeros((0, 3), dtype=int), None, "block_size"),
        ([0, 1], None, "block_size"),
        ([[0, 1]], [[0]], "targets have shape"),
    ],
)
def test_bad_ids_are_refused(float64, idx, targets, error):
    with pytest.raises(ValueError, match=error):
        gpt(float64)(idx, targets)


def test_ids_that_are_no_integers_are_refused(float64):
    with pytest.raises(TypeError, match="integers"):
        gpt(float64)(np.zeros((1, 2)))


@pytest.mark.parametrize("settings", [{}, {"activation": "gelu", "tie_weights": True}, LLAMA, QWEN3])
def test_float32_is_near_float64(settings):
    shape = {"n_embd": 32, "block_size": 64, "vocab_size": 50} | settings
    idx, targets = batch(4, 64, 50)
    results = []
    for dtype in ("float32", "float64"):
        model = gpt(Device("numpy", dtype=dtype, seed=0), **shape)
        logits, _ = model(idx, targets)
        model.backward()
        assert logits.dtype == dtype and all(p.grad.dtype == dtype for p in model.parameters())
        results.append({"logits": logits} | {name: p.grad for name, p in model.named_parameters()})
    for name, single in results[0].items():
        assert np.abs(single - results[1][name]).max() < 2e-5 * np.abs(results[1][name]).max(), name


@pytest.mark.parametrize("settings", [{}, {"activation": "gelu", "tie_weights": True, "qkv_bias": True}, QWEN3])
def test_overfits_one_batch(settings):
    model = gpt(Device("numpy", seed=0), n_embd=32, block_size=8, vocab_size=20, **settings)
    optimizer = AdamW(model, lr=1e-2, weight_decay=0.0)
    idx, targets = batch(4, 8, 20)
    for _ in range(150):
        model(idx, targets)
        optimizer.zero_grad()
        model.backward()
        clip_grad_norm(model, 1.0)
        optimizer.step()
    # Two windows that begin alike are told apart by nothing: the batch has none.
    assert len({tuple(row[:1]) for row in idx}) == len(idx)
    assert float(model(idx, targets)[1]) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_enormous_weights_give_finite_gradients(dtype):
    model = gpt(Device("numpy", dtype=dtype, seed=0))
    for p in model.parameters():
        p.value[...] *= 1e4
    idx, targets = batch()
    logits, loss = model(idx, targets)
    model.backward()
    assert np.isfinite(loss) and np.abs(logits).max() > 1e4
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.slow
def test_memory_does_not_grow_from_step_to_step(float64, monkeypatch):
    import gc
    import tracemalloc

    monkeypatch.setattr("nanograd.device.huge_pages.HAS_PAGES", False)  # so that all memory is traced
    model = gpt(float64, dropout=0.1)
    idx, targets = batch()

    def memory_after(steps):
        for step in steps:
            model.rng.begin_step(step)
            model(idx, targets)
            model.backward()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    sizes = [memory_after(range(first, first + 6)) for first in range(0, 72, 6)]
    tracemalloc.stop()
    # Python's and NumPy's lists of free memory fill at some time; what is kept from each step adds up all the time.
    assert min(after - before for before, after in pairwise(sizes)) < 2000


def test_without_its_logits_a_model_gives_the_same_loss_and_gradients(float64):
    model = gpt(float64, tie_weights=True)
    logits, loss = model(*batch())
    kept = logits.copy()
    model.backward()
    gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
    np.testing.assert_array_equal(logits, kept)
    model.zero_grad()
    nothing, again = model(*batch(), keep_logits=False)
    model.backward()
    assert nothing is None and again == loss
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, gradients[name], err_msg=name)


def test_what_each_block_returns_outlives_the_next_block(float64):
    model = gpt(float64)
    idx, _ = batch()
    x = model.wpe(model.wte(idx))
    outputs, copies = [], []
    for block in model.h:
        outputs.append(block(outputs[-1] if outputs else x))
        copies.append(outputs[-1].copy())
    for output, copy in zip(outputs, copies, strict=True):
        np.testing.assert_array_equal(output, copy)


def test_a_notebook_shows_every_parameter_and_how_many_numbers_it_has():
    model = GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=3, n_head=2, n_embd=8), Device("numpy"))
    shown = model._repr_html_()
    assert "3 × (8, 24)" in shown and "h.*.attn.c_attn.weight" in shown and f"{model.n_parameters():,}" in shown
    rows = [int(cell.replace(",", "")) for cell in re.findall(r'text-align: right">([\d,]+)<', shown)]
    assert sum(rows[:-1]) == rows[-1] == model.n_parameters()
