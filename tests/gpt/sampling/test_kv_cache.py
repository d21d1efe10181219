"""Decoding with a cache gives what a full forward over the last block_size tokens gives, at every length."""

import threading

import numpy as np
import pytest

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.sampling.cached_layers import CachedGPT
from gpt.sampling.kv_cache import Decoder
from nanograd.device.device import Device

CONFIGS = {
    "plain": {},
    "tied": {"tie_weights": True, "activation": "gelu"},
    "no bias": {"bias": False, "activation": "gelu"},
    "qkv bias": {"qkv_bias": True, "n_layer": 1},
    "one head": {"n_head": 1, "dropout": 0.5},
    "relu2, eps": {"activation": "relu2", "norm_eps": 0.5, "n_inner": 5},
    "llama": {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "bias": False},
    "qk norm": {"position": "rope", "qk_norm": "rms_weight", "head_dim": 6, "qkv_bias": True},
}
T, V = 7, 13


def model_of(name: str, dtype: str = "float64", **more) -> GPT:
    shape = {"block_size": T, "n_layer": 3, "n_head": 2, "n_embd": 8}
    model = GPT(GPTConfig(V, **(shape | CONFIGS[name] | more)), Device("numpy", dtype)).eval()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.value[...] = rng.standard_normal(parameter.shape)
    return model


def full(model, ids):
    """The logits after ids (B, n), by a full forward over the window."""
    return model(np.asarray(ids)[:, -model.config.block_size :])[0][:, -1]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_token_by_token_far_beyond_the_context(name, batch_size):
    model = model_of(name)
    ids = np.random.default_rng(1).integers(0, V, (batch_size, 3 * T))
    decoder = Decoder(model, batch_size, exact_window=True)
    for n in range(1, ids.shape[1] + 1):
        logits = decoder.decode(ids[:, n - 1 : n]).copy()
        np.testing.assert_allclose(logits, full(model, ids[:, :n]), rtol=1e-10, atol=1e-10)
    assert decoder.tokens == 3 * T


@pytest.mark.parametrize("name", ["plain", "llama"])
def test_places_are_made_as_a_text_grows(monkeypatch, name):
    monkeypatch.setattr("gpt.sampling.cached_attention.FIRST_ROOM", 2)
    model = model_of(name, block_size=40)
    ids = np.random.default_rng(1).integers(0, V, (2, 40))
    decoder = Decoder(model, 2)
    np.testing.assert_allclose(decoder.decode(ids[:, :5]), full(model, ids[:, :5]), rtol=1e-10, atol=1e-10)
    rooms = [decoder._model.blocks[0].attention.cache.shape[3]]
    for n in range(6, 41):
        np.testing.assert_allclose(decoder.decode(ids[:, n - 1 : n]), full(model, ids[:, :n]), rtol=1e-10, atol=1e-10)
        rooms.append(decoder._model.blocks[-1].attention.cache.shape[3])
    assert rooms[0] == 5 and set(rooms[1:]) == {10, 20, 40}


@pytest.mark.parametrize("name", CONFIGS)
def test_prompts_of_every_length_in_pieces(name):
    model = model_of(name)
    ids = np.random.default_rng(2).integers(0, V, (2, 2 * T + 3))
    for first in range(1, 2 * T):
        for second in (1, 2, T):
            decoder = Decoder(model, 2, exact_window=True)
            decoder.decode(ids[:, :first])
            stop = min(first + second, ids.shape[1])
            logits = decoder.decode(ids[:, first:stop]).copy()
            np.testing.assert_allclose(logits, full(model, ids[:, :stop]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factor", [0.01, 3, 100, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_of_any_size(factor, dtype):
    """From those that exp takes as they are to those that would overflow without a shift."""
    model = model_of("no bias", dtype)
    for block in model.h:
        block.attn.c_attn.weight.value[:, :16] *= np.sqrt(factor)  # queries and keys
    ids, decoder = np.random.default_rng(1).integers(0, V, (1, T)), Decoder(model)
    for n in range(1, T + 1):
        logits = decoder.decode(ids[:, n - 1 : n])
    tolerance = 1e-9 if dtype == "float64" else 0.02 * np.abs(logits).max()
    np.testing.assert_allclose(logits, full(model, ids), rtol=0, atol=tolerance)


def test_two_decoders_of_one_model_keep_apart():
    model = model_of("plain")
    ids = np.random.default_rng(2).integers(0, V, (2, T))
    first = Decoder(model)
    first.decode(ids[:1, :2])
    second = Decoder(model)
    for n in range(2, T):
        for decoder, row, pieces in ((first, ids[:1], 1), (second, ids[1:], n + 1 if n == 2 else 1)):
            logits = decoder.decode(row[:, n + 1 - pieces : n + 1])
            np.testing.assert_allclose(logits, full(model, row[:, : n + 1]), rtol=1e-10, atol=1e-10)


def test_making_a_decoder_disturbs_none_that_another_thread_reads():
    """Folded matrices lie in memory that all decoders of a model share: they are written in final form alone."""
    model = model_of("qkv bias", n_embd=64, n_layer=2)
    ids = np.random.default_rng(2).integers(0, V, (1, T))

    def read():
        decoder = Decoder(model)
        return np.concatenate([decoder.decode(ids[:, n : n + 1]) for n in range(T)])

    expected, done = read(), threading.Event()

    def make():
        while not done.is_set():
            Decoder(model)

    other = threading.Thread(target=make)
    other.start()
    try:
        for _ in range(40):
            np.testing.assert_array_equal(read(), expected)
    finally:
        done.set()
        other.join()


@pytest.mark.parametrize("score", [-79.0, -59.0, 59.0, 79.0])
def test_a_large_score_and_large_values_do_not_overflow(score):
    """One token, whose score with itself is `score`, in float32."""
    model = model_of("no bias", "float32", n_layer=1, n_head=1)
    block = model.h[0]
    scale = np.sqrt(abs(score) / np.sqrt(8)) * np.eye(8, dtype=np.float32)
    block.ln_1.weight.value[...] = 1
    block.attn.c_attn.weight.value[...] = np.hstack([scale, np.sign(score) * scale, 1e8 * np.eye(8)])
    block.attn.c_proj.weight.value[...] = 1e-8 * np.eye(8)
    np.testing.assert_allclose(Decoder(model).decode([[3]]), full(model, [[3]]), rtol=1e-4, atol=1e-4)


def test_greedy_text_is_that_of_the_full_forward():
    model = model_of("tied")
    ids, expected = [1], [1]
    decoder = Decoder(model)
    logits = decoder.decode([[1]])
    for _ in range(5 * T):
        ids.append(int(logits[0].argmax()))
        logits = decoder.decode([[ids[-1]]])
        expected.append(int(full(model, [expected]).argmax()))
    assert ids[:-1] == expected[: len(ids) - 1]


def test_layer_by_layer_agrees_with_the_folded_form():
    model = model_of("qkv bias", n_layer=2)
    ids = np.random.default_rng(3).integers(0, V, (2, T))
    cached, decoder = CachedGPT(model, 2, T), Decoder(model, 2)
    for n in range(T):
        piece = ids[:, n : n + 1]
        np.testing.assert_allclose(
            cached.step(piece[:, 0], n, n, np.zeros(2, int)), decoder.decode(piece), rtol=1e-10, atol=1e-10
        )


def test_float32_stays_float32():
    model = model_of("plain", "float32")
    assert Decoder(model).decode([[1, 2]]).dtype == np.float32


def test_a_row_with_a_large_common_offset():
    """The mean is taken off before anything else, so a large one costs no precision."""
    model = model_of("plain", "float32")
    model.wte.weight.value[...] += 1000
    ids = [[1, 2, 3]]
    np.testing.assert_allclose(Decoder(model).decode(ids), full(model, ids), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("ids", [[], [[]], [1, 2], [[1], [2]], [[V]], [[-1]]])
def test_ids_that_cannot_be(ids):
    with pytest.raises((ValueError, TypeError)):
        Decoder(model_of("plain")).decode(np.array(ids, dtype=np.int64))
