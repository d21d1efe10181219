"""Past block_size with RoPE, and prompts of different lengths: held against a definition with a mask, in float64."""

import math

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.sampling import folded, reading
from gpt.sampling.cached_layers import CachedGPT
from gpt.sampling.generate import generate
from gpt.sampling.kv_cache import Decoder
from nanograd.device.device import Device
from nanograd.layers.attention import Attention
from tests.support.marks import slow

T, V = 7, 13
LENGTHS = [(1, 3, 2), *map(slow, [(5, 2 * T + 1, 5), (2, 2, 2), (T, 1, 3 * T), (4 * T, 4 * T - 1, 2 * T)])]
ROPE = {"position": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
CONFIGS = {
    "llama": ROPE | {"n_kv_head": 2},
    "multi-query": ROPE | {"n_kv_head": 1, "tie_weights": True},
    "qk norm": {"position": "rope", "qk_norm": "rms_weight", "head_dim": 6, "qkv_bias": True},
    "layernorm, gelu": {"position": "rope", "activation": "gelu", "rope_theta": 100.0},
    "llama 3": ROPE | {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_context": 16},
}
LEARNED = {
    "article": {},
    "gpt2": {"activation": "gelu", "qkv_bias": True, "tie_weights": True},
    "qk norm, learned": {"qk_norm": "rms", "activation": "relu2", "n_kv_head": 2},
    "rmsnorm, learned": {"norm": "rmsnorm", "activation": "swiglu", "bias": False},
}


@pytest.fixture(params=["folded", "as stored", "layer by layer"])
def form(request, monkeypatch):
    """The three ways a model is read in: a small one and a large one on a CPU, and the GPU's."""
    if request.param == "as stored":
        monkeypatch.setattr(reading, "FOLD_AT_MOST", 0)
    if request.param == "layer by layer":
        monkeypatch.setattr("gpt.sampling.kv_cache.ReadGPT", CachedGPT)
    return request.param


def model_of(settings: dict, dtype: str = "float64") -> GPT:
    shape = {"block_size": T, "n_layer": 3, "n_head": 4, "n_embd": 16}
    model = GPT(GPTConfig(V, **(shape | settings)), Device("numpy", dtype)).eval()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.value[...] = 0.5 * rng.standard_normal(parameter.shape)
    return model


def banded(model, ids, monkeypatch):
    """The logits of every position of `ids` (n,), each attending to the last T keys: a forward with a band mask."""

    def forward(heads, qkv):
        q, k, v = heads.split(qkv)
        k, v = (np.repeat(part, heads.n_head // heads.n_kv_head, axis=1) for part in (k, v))
        distance = np.subtract.outer(np.arange(q.shape[2]), np.arange(q.shape[2]))
        scores = np.where((distance >= 0) & (distance < T), q @ k.swapaxes(2, 3) / math.sqrt(q.shape[3]), -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return (e / e.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(1, q.shape[2], -1)

    with monkeypatch.context() as patch:
        patch.setattr(Attention, "forward", forward)
        x = model.embed(np.asarray(ids)[None])
        for block in model.h:
            x = block(x)
        return model.lm_head(model.ln_f(x))[0].copy()


def windowed(model, ids):
    """The logits after `ids` (n,) by a full forward over the last T of them."""
    return model(np.asarray(ids)[None, -T:])[0][0, -1]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", CONFIGS)
def test_tokens_past_the_context_see_a_band(name, monkeypatch):
    model = model_of(CONFIGS[name])
    ids = np.random.default_rng(1).integers(0, V, 5 * T)
    expected = banded(model, ids, monkeypatch)
    for prompt in (1, 3, T, T + 1, 2 * T, 4 * T):
        decoder = Decoder(model)
        np.testing.assert_allclose(decoder.prefill([ids[:prompt]])[0], expected[prompt - 1], rtol=1e-9, atol=1e-10)
        for n in range(prompt, len(ids)):
            logits = decoder.decode(ids[None, n : n + 1])[0]
            np.testing.assert_allclose(logits, expected[n], rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_text_is_that_of_the_band(name, monkeypatch):
    model = model_of(CONFIGS[name])
    text = [1, 5]
    for _ in range(3 * T):
        text.append(int(banded(model, text, monkeypatch)[-1].argmax()))
    assert list(generate(model, [1, 5], 3 * T, temperature=0)) == text[2:]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", [*CONFIGS, *LEARNED])
def test_the_exact_window_is_a_full_forward_over_it(name):
    model = model_of((CONFIGS | LEARNED)[name])
    text = [1, 5]
    for _ in range(3 * T):
        text.append(int(windowed(model, text).argmax()))
    assert list(generate(model, [1, 5], 3 * T, temperature=0, exact_window=True)) == text[2:]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", [*CONFIGS, *LEARNED])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_prompts_of_any_lengths_are_read_as_if_alone(name, exact, lengths):
    model = model_of((CONFIGS | LEARNED)[name])
    rng = np.random.default_rng(2)
    prompts, more = [rng.integers(0, V, n) for n in lengths], rng.integers(0, V, (len(lengths), T + 2))
    together = Decoder(model, len(lengths), exact)
    alone = [Decoder(model, 1, exact) for _ in lengths]
    logits = np.array(together.prefill(prompts))
    for i, decoder in enumerate(alone):
        np.testing.assert_allclose(logits[i], decoder.prefill([prompts[i]])[0], rtol=1e-9, atol=1e-10)
    for step in range(more.shape[1]):
        logits = np.array(together.decode(more[:, step]))
        for i, decoder in enumerate(alone):
            single = decoder.decode(more[i : i + 1, step])[0]
            np.testing.assert_allclose(logits[i], single, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", [*CONFIGS, *LEARNED])
def test_float32_is_near_float64(name):
    ids = np.random.default_rng(3).integers(0, V, (2, 4 * T))
    for exact in (False, True):
        both = []
        for dtype in ("float32", "float64"):
            decoder = Decoder(model_of((CONFIGS | LEARNED)[name], dtype), 2, exact)
            decoder.prefill(ids[:, : T + 2])
            both.append(np.array(decoder.decode(ids[:, T + 2 :])))
        assert both[0].dtype == np.float32
        np.testing.assert_allclose(*both, rtol=2e-3, atol=2e-3)


def test_several_prompts_give_what_each_gives_alone():
    model = model_of(CONFIGS["llama"])
    prompts = [[1, 2], [3, 4, 5], [1, 2]]
    steps = list(generate(model, prompts, 20, seed=3))
    for i, prompt in enumerate(prompts):
        alone = list(generate(model, [prompt], 20, temperature=0))
        assert [step[0] for step in alone] == list(generate(model, prompt, 20, temperature=0))
        assert all(0 <= step[i] < V for step in steps)
    greedy = list(generate(model, prompts, 20, temperature=0))
    assert [[step[i] for step in greedy] for i in range(3)] == [
        list(generate(model, prompt, 20, temperature=0)) for prompt in prompts
    ]


def test_a_prompt_that_has_ended_gives_none():
    model = model_of(CONFIGS["llama"])
    first = next(generate(model, [1, 2], temperature=0))
    steps = list(generate(model, [[1, 2], [3, 4, 5]], 4, temperature=0, eos_id=first))
    assert steps[0][0] == first and all(step[0] is None for step in steps[1:])


@pytest.mark.parametrize("form", [folded.FOLD_AT_MOST, 0])
def test_a_long_prompt_is_read_in_pieces_of_bounded_size(form, monkeypatch):
    monkeypatch.setattr(reading, "FOLD_AT_MOST", form)
    monkeypatch.setattr("gpt.sampling.kv_cache.PREFILL", 6)
    model = model_of(LEARNED["gpt2"] | {"block_size": 64})
    ids = np.random.default_rng(4).integers(0, V, (3, 50))
    np.testing.assert_allclose(Decoder(model, 3).prefill(ids), model(ids)[0][:, -1], rtol=1e-9, atol=1e-10)


def test_a_decoder_is_prefilled_once():
    decoder = Decoder(model_of({}))
    decoder.prefill([[1, 2]])
    with pytest.raises(ValueError, match="once"):
        decoder.prefill([[1, 2]])


@pytest.mark.parametrize("prompts", [[], [[1], [2]], [[]], [[[1]]], [[V]], [[-1]]])
def test_prompts_that_cannot_be(prompts):
    with pytest.raises((ValueError, TypeError)):
        Decoder(model_of({})).prefill(prompts)
