"""web/engine.js against the Python it repeats: logits, gradients, sampling, for every architecture."""

import itertools

import numpy as np
import pytest
from gpt.tokenizers import CharTokenizer

from gpt.config.options import GPTConfig
from gpt.model import GPT
from gpt.sampling import filters
from gpt.sampling.generate import generate
from nanograd.device.device import Device
from tests.support.javascript import JavaScript, relative_error
from tests.support.marks import slow

TOKENIZER = CharTokenizer.train("abcdefgh .\n好")
SHAPE = {"vocab_size": TOKENIZER.vocab_size, "block_size": 12, "n_layer": 2, "n_head": 2, "n_embd": 8}
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False}
ARCHITECTURES = {
    "the article's": {},
    "GPT-2's": {"activation": "gelu", "tie_weights": True, "qkv_bias": True},
    "nanoGPT's": {"activation": "gelu", "tie_weights": True, "bias": False},
    "Llama's": LLAMA | {"n_head": 4, "n_kv_head": 2},
    "multi-query, with biases": LLAMA | {"n_kv_head": 1, "bias": True, "tie_weights": True, "n_inner": 20},
    "Qwen3's": LLAMA | {"qk_norm": "rms_weight", "head_dim": 6, "n_kv_head": 1, "rope_theta": 500.0, "norm_eps": 1e-3},
    "the recipe's": LLAMA | {"activation": "relu2", "qk_norm": "rms", "zero_init": True},
    "Llama 3.1's": LLAMA
    | {
        "rope_scaling": "llama3",
        "rope_factor": 8.0,
        "rope_original_context": 16,
        "rope_theta": 100.0,
        "qkv_bias": True,
    },
    "a longer context": LLAMA | {"rope_scaling": "linear", "rope_factor": 4.0, "norm": "layernorm", "bias": True},
    "RMSNorm with learned positions": {"norm": "rmsnorm", "activation": "relu2", "norm_eps": 0.1},
}


def make_model(seed=1, **shape):
    """A model whose every parameter is far from its initial value."""
    model = GPT(GPTConfig(**(SHAPE | shape)), Device("numpy", dtype="float32", seed=seed))
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.value[...] = 2 * parameter.value + 0.3 * rng.standard_normal(parameter.shape)
    model.eval()
    return model


@pytest.fixture(scope="module", params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def pair(request):
    model = make_model(**request.param)
    return model, JavaScript(model, TOKENIZER)


def random_ids(n, seed=0):
    return [int(i) for i in np.random.default_rng(seed).integers(0, TOKENIZER.vocab_size, n)]


def test_logits(pair):
    model, js = pair
    for n in (1, 4, 7, 12):
        ids = random_ids(n, seed=n)
        wanted = model(np.array([ids]))[0][0]
        assert relative_error(js("engine.logits(ids)", ids=ids), wanted) < 5e-6


def test_of_a_text_longer_than_the_context_the_last_positions_count(pair):
    model, js = pair
    ids = random_ids(20)
    assert relative_error(js("engine.logits(ids)", ids=ids), model(np.array([ids[-12:]]))[0][0]) < 2e-6


def test_gradients_of_every_parameter(pair):
    model, js = pair
    ids, targets = random_ids(11), random_ids(11, seed=1)
    for parameter in model.parameters():
        parameter.grad[...] = 0
    _, loss = model(np.array([ids]), np.array([targets]))
    model.backward()
    found = js("engine.gradients(ids, targets)", ids=ids, targets=targets)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert set(found["parameters"]) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert relative_error(found["parameters"][name], parameter.grad) < 1e-5, name


def test_the_gradient_by_the_inputs_and_a_single_target(pair):
    model, js = pair
    ids = random_ids(6)
    targets = [-100, -100, -100, 3, -100, -100]
    found = js("engine.gradients(ids, targets)", ids=ids, targets=targets)
    inputs = np.array(found["inputs"]).reshape(6, 8)
    assert not inputs[4:].any() and inputs[:4].any(axis=1).all()  # nothing behind the target has a say
    assert [bool(loss) for loss in found["losses"]] == [False, False, False, True, False, False]
    # Each row is the derivative by that position's embedding: a token that occurs once has it as its own.
    once = [t for t, i in enumerate(ids) if ids.count(i) == 1]
    rows = np.array(found["parameters"]["wte.weight"]).reshape(-1, 8)
    if not model.config.tie_weights:
        for t in once:
            np.testing.assert_allclose(rows[ids[t]], inputs[t], rtol=1e-6)


@pytest.mark.parametrize("length", [slow(1), 5, slow(12), 30])
def test_greedy_text_within_the_context_and_beyond(pair, length):
    model, js = pair
    ids = random_ids(length, seed=length)
    wanted = list(generate(model, ids, 30, temperature=0))
    assert js("engine.generate(ids, {temperature: 0, max_new_tokens: 30})", ids=ids) == wanted


def test_an_id_ends_the_text(pair):
    model, js = pair
    whole = list(generate(model, [1], 20, seed=4))
    for eos_id in (whole[5], [whole[7], whole[5]]):
        options = {"max_new_tokens": 20, "seed": 4, "eos_id": eos_id}
        wanted = list(generate(model, [1], 20, seed=4, eos_id=eos_id))
        assert js("engine.generate([1], options)", options=options) == wanted and len(wanted) < 20


CONTROLS = [
    {},
    {"top_k": 3, "temperature": 1.7},
    {"top_p": 0.6, "temperature": 1.0},
    {"min_p": 0.3, "top_p": 1.0, "temperature": 2.5},
    {"repetition_penalty": 1.5, "frequency_penalty": 0.7, "presence_penalty": 0.4},
    {"repetition_penalty": 0.5, "temperature": 0, "presence_penalty": -1},
    {"top_k": 1},
    {"top_k": 100, "top_p": 0.9, "min_p": 0.01},
]


SEEDS = [0, 7, 2**32 + 5, 2**63 - 1]
PAIRS = [(i, j, (controls, seed)) for i, controls in enumerate(CONTROLS) for j, seed in enumerate(SEEDS)]


@pytest.mark.parametrize(("controls", "seed"), [case if i % 4 == j else slow(*case) for i, j, case in PAIRS], ids=str)
def test_a_seed_draws_the_same_tokens_as_in_sample_py(pair, controls, seed):
    model, js = pair
    ids = random_ids(3)
    wanted = list(generate(model, ids, 15, seed=seed, **controls))
    options = controls | {"max_new_tokens": 15, "seed": str(seed)}
    assert js("engine.generate(ids, options)", ids=ids, options=options) == wanted


def test_the_order_of_the_controls_is_that_of_python(pair):
    names = pair[1]("new Engine.Writer(engine, [0], options).next().stages.map(({name}) => name)", options=CONTROLS[-1])
    assert names == ["model", "temperature", "top_k", "top_p", "min_p"]
    everything = {"repetition_penalty": 2, "frequency_penalty": 1, "presence_penalty": 1, "top_k": 2, "min_p": 0.5}
    names = pair[1]("new Engine.Writer(engine, [0], o).next().stages.map(({name}) => name)", o=everything)
    assert names[1:] == [
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
    ]


ROWS = [
    [0.0, 0.0, 0.0, 0.0],
    [1.0, 3.0, 3.0, 2.0, -1.0, 3.0],
    [float(z) for z in np.log([0.5, 0.3, 0.1, 0.1])],
    [5.0, -5.0, 700.0, -700.0],
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_control_on_ties_and_borders(pair, row):
    js, logits = pair[1], np.array(row)
    everything = {"seen": [0, 2], "counts": [2, 0, 1] + [0] * (len(row) - 3)}
    seen = np.zeros(len(row), bool)
    seen[everything["seen"]] = True
    for name, value in itertools.chain(
        *(itertools.product([name], values) for name, values in {
            "top_k": [1, 2, 3, 9], "top_p": [0.2, 0.5, 0.8, 0.9, 0.95], "min_p": [0.1, 0.2, 0.6, 1.0],
            "temperature": [0.3, 2.0], "repetition_penalty": [0.5, 1.7], "frequency_penalty": [-1, 0.3],
            "presence_penalty": [-1, 0.3],
        }.items())
    ):  # fmt: skip
        arguments = {
            "repetition_penalty": (seen, value),
            "frequency_penalty": (np.array(everything["counts"]), value),
            "presence_penalty": (np.array(everything["counts"]), value),
        }.get(name, (value,))
        wanted = getattr(filters, name)(logits, *arguments)
        off = {"temperature": 1, "top_p": 1, "repetition_penalty": 1}
        options = {n: off.get(n, 0) for n in ("repetition_penalty", "frequency_penalty", "presence_penalty")}
        options |= {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, name: value}
        counts = [[i, c] for i, c in enumerate(everything["counts"]) if c]
        found = js(
            "Engine.choose(logits, options, new Set(seen), new Map(counts), 0.5).stages.pop().logits",
            logits=row, options=options, seen=everything["seen"], counts=counts,
        )  # fmt: skip
        found = np.array([-np.inf if z is None else z for z in found])
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=f"{name} {value}")


def test_stepping_back_and_putting_another_token(pair):
    model, js = pair
    js("(globalThis.writer = new Engine.Writer(engine, ids, {seed: 3}), 0)", ids=[1, 2])
    first = js("[...Array(8)].map(() => writer.next().token)")
    assert js("(writer.cut(4), [...Array(4)].map(() => writer.next().token))") == first[4:]
    other = (first[4] + 1) % TOKENIZER.vocab_size
    js("(writer.cut(4), writer.push(other), 0)", other=other)
    assert js("writer.ids") == [1, 2, *first[:4], other]
    after = js("writer.peek()")
    assert relative_error(after, model(np.array([[1, 2, *first[:4], other]]))[0][0, -1]) < 2e-6
    assert js("writer.explain(4).token") == first[4]  # what the seed would have drawn there


def test_what_is_drawn_lies_in_the_stretch_that_is_shown(pair):
    js = pair[1]
    for i in range(10):
        choice = js("(() => { const {u, low, high} = writer.next(); return {u, low, high}; })()") if i else js(
            "((globalThis.writer = new Engine.Writer(engine, [0], {seed: 9})), {u: 0, low: 0, high: 1})"
        )  # fmt: skip
        assert 0 <= choice["low"] <= choice["u"] < choice["high"] <= 1 + 1e-12


def test_float16_weights(pair):
    model, _ = pair
    js = JavaScript(model, TOKENIZER, "float16")
    for name, value in model.state_dict().items():
        found = js("engine.model.parameters.get(name).value", name=name)
        np.testing.assert_array_equal(np.float32(found), value.astype(np.float16).astype(np.float32).ravel())
    ids, rounded = random_ids(12), GPT(model.config, model.device)
    rounded.load_state_dict({name: np.float32(np.float16(value)) for name, value in model.state_dict().items()})
    assert relative_error(js("engine.logits(ids)", ids=ids), rounded(np.array([ids]))[0][0]) < 5e-6


def test_every_float16():
    model = make_model(vocab_size=65536 // 8, tie_weights=True, n_layer=1)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves[~np.isfinite(halves)] = 0
    model.wte.weight.value[...] = halves.reshape(-1, 8)
    alphabet = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 8192))))
    found = JavaScript(model, alphabet, "float16")("engine.model.wte.value")
    np.testing.assert_array_equal(np.float32(found), halves.astype(np.float32))


@pytest.mark.parametrize(
    "expression",
    [
        "engine.logits([])",
        "engine.logits([0, 12])",
        "engine.logits([-1])",
        "engine.logits([0.5])",
        "engine.gradients([1, 2], [1])",
        "engine.gradients([1, 2], [-100, -100])",
        "engine.gradients([1, 2], [1, 12])",
        "engine.gradients(Array(13).fill(1), Array(13).fill(1))",
        "engine.decode([99])",
        "engine.encode('z')",
        "engine.encode('a\\uD800')",
        "engine.generate([], {})",
        "engine.generate([1], {temprature: 1})",
        "engine.generate([1], {temperature: 'hot'})",
    ],
)
def test_what_cannot_be_is_refused(pair, expression):
    import quickjs

    with pytest.raises(quickjs.JSException, match="RangeError"):
        pair[1](expression)


def banded_logits(model, ids):
    """A Llama's logits at the last position in plain float64: each position sees the last block_size keys."""
    config, T = model.config, len(ids)
    p = {name: np.float64(value) for name, value in model.state_dict().items()}
    H, K, D = config.n_head, config.kv_heads, config.head_channels
    t = np.arange(T)
    angles = t[:, None] * config.rope_theta ** (-2.0 * np.arange(D // 2) / D)  # (T, D/2)
    band = (t[:, None] >= t) & (t[:, None] - t < config.block_size)

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps) * p[name]

    def rotated(x):  # (T, D)
        a, b = np.split(x, 2, axis=1)
        return np.hstack([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)])

    x = p["wte.weight"][ids]
    for i in range(config.n_layer):
        h = f"h.{i}."
        q, k, v = np.split(norm(x, h + "ln_1.weight") @ p[h + "attn.c_attn.weight"], [H * D, (H + K) * D], axis=1)
        heads = []
        for n in range(H):
            shared = slice(n * K // H * D, (n * K // H + 1) * D)
            scores = rotated(q[:, n * D : (n + 1) * D]) @ rotated(k[:, shared]).T / np.sqrt(D)
            weights = np.exp(np.where(band, scores - scores.max(), -np.inf))
            heads.append(weights / weights.sum(1, keepdims=True) @ v[:, shared])
        x = x + np.hstack(heads) @ p[h + "attn.c_proj.weight"]
        y = norm(x, h + "ln_2.weight")
        gate = y @ p[h + "mlp.c_gate.weight"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ p[h + "mlp.c_fc.weight"])) @ p[h + "mlp.c_proj.weight"]
    return norm(x[-1], "ln_f.weight") @ p["lm_head.weight"].T


def test_with_rope_a_full_cache_can_drop_its_oldest_keys():
    model = make_model(**ARCHITECTURES["Llama's"])
    js = JavaScript(model, TOKENIZER)
    js("(engine.slides = true, globalThis.writer = new Engine.Writer(engine, [3, 1, 4], {temperature: 0}), 0)")
    ids = [3, 1, 4]
    for _ in range(30):  # 12 fit into the context
        wanted = banded_logits(model, ids)
        assert relative_error(js("writer.peek()"), wanted) < 1e-5
        ids.append(int(wanted.argmax()))
        assert js("writer.next().token") == ids[-1]
