"""Decoding on a GPU (or through tools/cuda_on_cpu) gives NumPy's logits, within and past the context."""

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.sampling.kv_cache import Decoder
from nanograd import Device
from tests.support.marks import slow

T, V = 7, 13
CONFIGS = {
    "gpt2": {"activation": "gelu", "qkv_bias": True},
    "llama": {"position": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "n_kv_head": 2},
    "qwen3": {"position": "rope", "qk_norm": "rms_weight", "head_dim": 6},
}


def model_on(backend: str, name: str, dtype: str) -> GPT:
    config = GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=4, n_embd=16, **CONFIGS[name])
    model = GPT(config, Device(backend, dtype)).eval()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.value[...] = model.device.asarray(0.5 * rng.standard_normal(parameter.shape))
    return model


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_xp")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), slow("float32", 1e-4)])
def test_prompts_of_three_lengths_and_what_follows(dtype, tolerance, name, exact):
    rng = np.random.default_rng(1)
    prompts, more = [rng.integers(0, V, n) for n in (2, T + 3, 5)], rng.integers(0, V, (2 * T, 3))
    results = []
    for backend in ("numpy", "cupy"):
        model = model_on(backend, name, dtype)
        decoder = Decoder(model, 3, exact)
        logits = [decoder.prefill(prompts)] + [decoder.decode(ids) for ids in more]
        results.append(np.array([model.device.to_host(one) for one in logits]))
    np.testing.assert_allclose(results[1], results[0], rtol=tolerance, atol=tolerance)
