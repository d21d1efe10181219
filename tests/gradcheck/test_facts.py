"""What every gradient obeys: it holds for right models of every kind, and says by name what a wrong one breaks."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.facts import facts_of_model
from gpt.model import GPT, GPTConfig
from gpt.sampling.kv_cache import Decoder
from nanograd import AdamW, Device, Parameter
from nanograd.gradcheck.facts import Unit, facts_of, largest_ratio, recorded
from nanograd.layers import (
    MLP,
    Attention,
    CrossEntropy,
    Embedding,
    LayerNorm,
    Linear,
    LMHead,
    ReLU,
    ReLUSquared,
    RMSNorm,
    RoPE,
    SwiGLU,
)

LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 2, "bias": False}
SETTINGS = [
    {},
    {"tie_weights": True, "activation": "gelu", "qkv_bias": True},
    LLAMA,
    LLAMA | {"activation": "relu2", "qk_norm": "rms_weight", "tie_weights": True, "n_kv_head": 1},
]


def model_of(settings: dict, device: Device, seed: int = 0, C: int = 32, T: int = 12, V: int = 23) -> GPT:
    model = GPT(GPTConfig(V, **({"block_size": T, "n_layer": 2, "n_head": 4, "n_embd": C} | settings)), device)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.value += device.asarray((0.2 * rng.standard_normal(parameter.shape)).astype(device.parameter_dtype))
    return model


def facts(model: GPT, seed: int = 0) -> list:
    tokens = np.random.default_rng(seed).integers(0, model.config.vocab_size, 500)
    return list(facts_of_model(model, tokens, seed))


@hypothesis.settings(max_examples=max(10, hypothesis.settings.default.max_examples // 5))  # a tenth of a second each
@given(st.sampled_from(SETTINGS), st.sampled_from(["float32", "float64"]), st.integers(0, 10**6))
def test_every_fact_holds_of_a_right_model(settings, dtype, seed):
    found = facts(model_of(settings, Device("numpy", dtype), seed), seed)
    assert len({fact.name for fact in found}) >= 12
    assert all(fact.ok for fact in found), [fact for fact in found if not fact.ok]


def test_bounds_are_not_far_above_what_rounding_does():
    """Among the largest errors some come within a factor of 20 of their bounds: a wrong digit is seen."""
    found = facts(model_of({}, Device("numpy", "float32"), C=64, T=32))
    ratios = {}
    for fact in found:
        ratios[fact.name] = max(ratios.get(fact.name, 0), fact.ratio)
    near = [name for name, ratio in ratios.items() if ratio > 0.05]
    assert len(near) >= 5, ratios


def spoiled(monkeypatch, kind, change):
    """`change(layer, result, *arguments)` in place of what the backward pass of a kind of layer returns."""
    right = kind.backward

    def wrong(self, *arguments, **options):
        return change(self, right(self, *arguments, **options), *arguments)

    monkeypatch.setattr(kind, "backward", wrong)


def scale_late(array):
    array[..., -1, :] *= 1.01
    return array


def add_to(gradient, amount):
    gradient[...] += amount


def each_second_part(layer, dqkv, which):
    """dqkv with the queries', keys' or values' part 1 % larger in the last position."""
    layer.split(dqkv)[which][:, :, -1] *= 1.01
    return dqkv


BROKEN = [
    (
        CrossEntropy,
        {},
        lambda layer, dx, *_: dx * (1 + 1e-3 * (np.arange(dx.shape[-1]) == 0)),
        "rows of dlogits sum to 0",
    ),
    (LayerNorm, {}, lambda layer, dx, dy, *_: dx + np.float32(1e-3) * dy.mean(), "dx sums to 0"),
    (LayerNorm, {}, lambda layer, dx, *_: add_to(layer.weight.grad, 1e-3) or dx, "dweight is the sum of dy xhat"),
    (LayerNorm, {}, lambda layer, dx, *_: add_to(layer.bias.grad, 1e-4) or dx, "dbias is the sum of dy"),
    (RMSNorm, LLAMA, lambda layer, dx, dy, *_: dx + 1e-2 * dy, "dx is orthogonal to xhat"),
    (Linear, {}, lambda layer, dx, dy: dx * 1.001, "x . dx = y . dy"),
    (Linear, {}, lambda layer, dx, dy: add_to(layer.weight.grad, 1e-3 * layer.weight.value) or dx, "W . dW = y . dy"),
    (LMHead, {}, lambda layer, dx, dy: dx * 1.001, "x . dx = y . dy"),
    (ReLU, {}, lambda layer, dx, dy: dx * 1.001, "x . dx = y . dy"),
    (ReLUSquared, {"activation": "relu2"}, lambda layer, dx, dy: dx * 0.5, "x . dx = 2 y . dy"),
    (SwiGLU, LLAMA, lambda layer, dx, dy: (dx[0], dx[1] * 1.001), "up . dup = y . dy"),
    (Attention, {}, lambda layer, dx, dy: each_second_part(layer, dx, 2), "dv adds up to dy"),
    (Attention, {}, lambda layer, dx, dy: each_second_part(layer, dx, 1), "dk adds up to 0"),
    (Attention, {}, lambda layer, dx, dy: each_second_part(layer, dx, 0), "q . dq = k . dk"),
    (Attention, {}, lambda layer, dx, dy: dx + np.float32(1e-9), "nothing flows to later inputs"),
    (RoPE, LLAMA, lambda layer, dx, dy: scale_late(dx), "|dx| = |dy|"),
    (
        Embedding,
        {},
        lambda layer, dx, dy: add_to(layer.weight.grad, 1e-3),
        "rows of the table's gradient add up to dy",
    ),
    (
        Embedding,
        {"tie_weights": True},
        lambda layer, dx, dy: add_to(layer.weight.grad, -layer.weight.grad * 0.1),
        "two uses of a table add up",
    ),
]


@pytest.mark.parametrize(
    ("kind", "settings", "change", "name"), BROKEN, ids=[f"{b[0].__name__}: {b[3]}" for b in BROKEN]
)
def test_a_wrong_backward_breaks_the_fact_by_name(monkeypatch, kind, settings, change, name):
    spoiled(monkeypatch, kind, change)
    broken = {fact.name for fact in facts(model_of(settings, Device("numpy", "float32"))) if not fact.ok}
    assert name in broken, broken


def overwrite(array):
    array[...] = 0


def unshifted(scores, e, small=None):
    with np.errstate(over="ignore", invalid="ignore"):
        np.exp(scores, out=e)


def late(self, scale=1.0, right=AdamW.step):
    self.steps += 1
    right(self, scale)


def larger(self, ids, right=Decoder.decode):
    return right(self, ids) * np.float32(1.01)


def broken_by(name, settings=None, dtype="float32"):
    with np.errstate(all="ignore"):
        broken = {fact.name for fact in facts(model_of(settings or {}, Device("numpy", dtype))) if not fact.ok}
    assert name in broken, broken


def test_what_is_given_and_overwritten_is_seen(monkeypatch):
    spoiled(monkeypatch, ReLU, lambda layer, dx, dy, *_: dx if dx is dy else overwrite(dy) or dx)
    broken_by("what is given stays as it is")


def test_gradients_that_are_not_added_are_seen(monkeypatch):
    spoiled(monkeypatch, LayerNorm, lambda layer, dx, *_: add_to(layer.weight.grad, -layer.weight.grad / 2) or dx)
    broken_by("gradients of two passes add up")


def test_a_loss_with_another_mean_or_that_forgets_dloss_is_seen(monkeypatch):
    monkeypatch.setattr("nanograd.layers.cross_entropy.count_targets", lambda targets, below: targets.size)
    broken_by("ignored positions do not count")
    right = CrossEntropy.backward
    monkeypatch.setattr(CrossEntropy, "backward", lambda self, dloss=1.0: right(self))
    broken_by("backward is linear in dloss")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_softmax_that_overflows_is_seen(monkeypatch, dtype):
    monkeypatch.setattr("nanograd.layers.attention.exp_rows", unshifted)
    broken_by("a vector added to all keys changes nothing", dtype=dtype)


def test_a_step_and_a_cache_that_are_wrong_are_seen(monkeypatch):
    monkeypatch.setattr(AdamW, "step", late)
    broken_by("AdamW moves by lr g / (|g| + eps)")
    monkeypatch.setattr(Decoder, "decode", larger)
    broken_by("token by token as all at once")


def test_positions_that_are_told_twice_are_seen(monkeypatch):
    right = RoPE.forward
    monkeypatch.setattr(RoPE, "forward", lambda self, x, start=0, **options: right(self, x, 0, **options))
    broken_by("a text may begin in the middle", LLAMA)


def test_a_table_that_is_not_tied_is_seen():
    model = model_of({"tie_weights": True}, Device("numpy", "float64"))
    model.lm_head.weight = Parameter(model.wte.weight.value)
    assert "two uses of a table add up" in {fact.name for fact in facts(model) if not fact.ok}


def test_an_order_that_matters_is_seen(monkeypatch):
    right = Attention.forward

    def first_head_larger(self, qkv):
        y = right(self, qkv)
        y[..., : y.shape[-1] // self.n_head] *= 1.01
        return y

    monkeypatch.setattr(Attention, "forward", first_head_larger)
    model = model_of({}, Device("numpy", "float32"))
    assert "heads in any order" in {fact.name for fact in facts(model) if not fact.ok}


def test_distances_are_seen_where_a_rotation_depends_on_more(monkeypatch):
    right = RoPE.forward
    monkeypatch.setattr(RoPE, "forward", lambda self, x, start=0, **options: right(self, x * (1 + 1e-4 * start), start))
    model = model_of(LLAMA, Device("numpy", "float64"))
    from nanograd.gradcheck.invariances import distance_fact

    rng = np.random.default_rng(0)
    assert not distance_fact(model.h[0].attn.rope, model.device, rng, 12, "rope").ok


def test_a_sum_in_too_narrow_a_type_is_seen(monkeypatch):
    """Gradients of biases added up one by one in float16, which is within any usual tolerance of 1e-2."""
    from nanograd.layers import linear

    def narrow(x, total):
        added = np.zeros(x.shape[1], np.float16)
        for row in x.astype(np.float16):
            added += row
        total += added

    monkeypatch.setattr(linear, "add_positions", narrow)
    broken = {fact.name for fact in facts(model_of({}, Device("numpy", "float32"))) if not fact.ok}
    assert broken - {"parts of a batch add up to the whole"} == {"dbias is the sum of dy"}


def test_a_loss_that_is_nearly_sure_keeps_its_facts():
    """p - 1 at the target has lost its digits there: dlogits are off by what p is, not by what they are."""
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((50, 400)).astype(np.float32), rng.integers(0, 400, 50)
    logits[np.arange(50), targets] += 15
    loss = CrossEntropy()
    with recorded(loss) as found:
        loss(logits, targets)
        loss.backward()
    (fact,) = facts_of(found, "float32")
    assert fact.ok, fact


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


def test_ratios():
    assert largest_ratio(np.zeros(3), 0.0) == 0
    assert largest_ratio(np.array([0.0, 1.0]), np.array([1.0, 4.0])) == 0.25
    assert largest_ratio(np.array([1e-300]), 0.0) == np.inf
    assert largest_ratio(np.array([np.nan]), 1.0) == largest_ratio(np.array([1.0]), np.nan) == np.inf


def test_units():
    assert Unit.of("float32") == Unit(2.0**-24, 2.0**-24, 0.0)
    assert Unit.of("bfloat16") == Unit(2.0**-8, 2.0**-24, 2.0**-8)
    assert Unit.of("tf32") == Unit(2.0**-24, 2.0**-24, 2.0**-11)
    assert Unit.of("float64") == Unit(2.0**-52, 2.0**-52, 0.0)
