"""Classic mistakes, planted in web/engine.js one at a time: the comparison with Python notices each of them."""

import re

import numpy as np
import pytest

from gpt.page.document import WEB
from tests.gpt.page.test_engine import ARCHITECTURES, LLAMA, TOKENIZER, make_model, random_ids
from tests.support.javascript import JavaScript, relative_error

pytestmark = pytest.mark.slow

MODELS = {
    "the article's": {"qkv_bias": True},
    "gelu": {"activation": "gelu", "tie_weights": True},
    "relu2": {"activation": "relu2"},
    "Llama's": LLAMA | {"n_head": 4, "n_kv_head": 2, "qk_norm": "rms_weight"},
    "scaled": ARCHITECTURES["Llama 3.1's"],
}
MISTAKES = {
    "dW of the wrong sign": ("total[i * columns + j] += sum;", "total[i * columns + j] -= sum;"),
    "dW written, not added": ("if (bias) bias.grad[i] += dy[at];", "if (bias) bias.grad[i] = dy[at];"),
    "LayerNorm: the mean of g forgotten": ("weight.value[i] - shift - xhat", "weight.value[i] - xhat"),
    "LayerNorm: the stretch forgotten": (" - shift - xhat[at] * stretch", " - shift"),
    "LayerNorm: n - 1": ("- mean) ** 2 / C", "- mean) ** 2 / (C - 1)"),
    "LayerNorm: no eps": ("1 / Math.sqrt(variance + eps)", "1 / Math.sqrt(variance)"),
    "RMSNorm: the stretch forgotten": (": 1) - xhat[at] * stretch);", ": 1));"),
    "RMSNorm: sum for mean": ("dot(x, r * C, x, r * C, C) / C + eps", "dot(x, r * C, x, r * C, C) + eps"),
    "ReLU's slope": ("x => x > 0 ? 1 : 0]", "x => 1]"),
    "ReLU squared: the 2 forgotten": ("x => 2 * Math.max(x, 0)", "x => Math.max(x, 0)"),
    "silu' without its second term": ("sigmoid(x) * (1 + x * (1 - sigmoid(x)))", "sigmoid(x)"),
    "GELU: the cubic's 3 forgotten": ("(1 + 3 * CUBIC * x * x)", "(1 + CUBIC * x * x)"),
    "SwiGLU: gate and hidden exchanged": ("hidden[i] * activation(gate[i]) :", "gate[i] * activation(hidden[i]) :"),
    "SwiGLU: dgate without the hidden layer": ("d[i] * hidden[i] * slope(gate[i])", "d[i] * slope(gate[i])"),
    "RoPE turned the same way back": ("back ? -Math.sin(angle) : Math.sin(angle)", "Math.sin(angle)"),
    "RoPE: neighbours as pairs": ("a < x.length; a += 2 * half)", "a < half; a += 2 * half)"),
    "RoPE: -i/D for -2i/D": ("rope_theta ** (-2 * i / D)", "rope_theta ** (-i / D)"),
    "RoPE: the position forgotten": ("(t + 1) * KD), start + t", "(t + 1) * KD), t + 1"),
    "llama3: the mean the wrong way round": ("(1 - kept) / rope_factor + kept", "kept / rope_factor + 1 - kept"),
    "QK-norm of the keys alone": ("[this.q_norm.forward(q), this.k_norm", "[q, this.k_norm"),
    "QK-norm not undone": ("[dq, dk] = [this.q_norm.backward(dq), this.k_norm.backward(dk)]", "[dq, dk] = [dq, dk]"),
    "heads share the wrong keys": ("Math.floor(h * K / H) * D, from", "h % K * D, from"),
    "wrong keys shared, all at once": ("const shared = Math.floor(h * K / H) * D;", "const shared = h % K * D;"),
    "1/D for 1/sqrt(D), token by token": ("const s = 1 / Math.sqrt(D), { k, v }", "const s = 1 / D, { k, v }"),
    "softmax over the future too": ("row.fill(0, t + 1);", ""),
    "1/D for 1/sqrt(D)": ("this, s = 1 / Math.sqrt(D), n", "this, s = 1 / D, n"),
    "attention: delta forgotten": ("- delta);", ");"),
    "attention: s once in backward": ("const ds = s * p *", "const ds = p *"),
    "attention: dk with k": ("dk[row + d] += ds * q[at + d]", "dk[row + d] += ds * k[row + d]"),
    "attention: keys from the future": ("for (let j = 0; j <= i; j++) {", "for (let j = 0; j < i; j++) {"),
    "shared keys: gradients not added up": ("dv[row + d] += p", "dv[row + d] = p"),
    "the residual's own gradient forgotten": ("plus(dy, this.ln_2", "plus(dy.map(() => 0), this.ln_2"),
    "repeated ids not added up": ("wte.grad[id * C + i] += dx", "wte.grad[id * C + i] = dx"),
    "positions from 1": ("this.wpe.value[(start + t) * C + i]", "this.wpe.value[(start + t + 1) * C + i]"),
    "the loss's 1/N forgotten": ("(i === target ? 1 : 0)) / count", "(i === target ? 1 : 0))"),
    "the head's gradient forgotten": ("add_product(head.grad", "add_product(new Float32Array(V * C)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    """Each model with the logits, gradients and greedy text that Python gives."""
    ids, targets, found = random_ids(11), random_ids(11, seed=1), []
    for shape in MODELS.values():
        model = make_model(**shape)
        logits = model(np.array([ids]))[0][0].copy()
        model(np.array([ids]), np.array([targets]))
        model.backward()
        found.append((model, ids, targets, logits, {n: p.grad.copy() for n, p in model.named_parameters()}))
    return found


def agrees(case, source: str) -> bool:
    """Does this engine compute what Python does?"""
    model, ids, targets, logits, gradients = case
    js = JavaScript(model, TOKENIZER, source=source)
    writer = "(globalThis.writer = new Engine.Writer(engine, ids.slice(0, 3), {}), 0)"
    js(writer, ids=ids)
    rows = js("ids.slice(3).map(id => { const row = writer.peek(); writer.push(id); return row; })", ids=ids)
    if relative_error(rows, logits[2:-1]) > 1e-5 or relative_error(js("engine.logits(ids)"), logits) > 1e-5:
        return False
    found = js("engine.gradients(ids, targets).parameters", targets=targets)
    return all(relative_error(found[name], wanted) < 2e-5 for name, wanted in gradients.items())


def engine_source() -> str:
    return (WEB / "engine.js").read_text(encoding="utf-8")


def test_without_a_mistake_all_models_agree(cases):
    assert all(agrees(case, engine_source()) for case in cases)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(cases, mistake):
    old, new = MISTAKES[mistake]
    source = engine_source()
    assert len(re.findall(re.escape(old), source)) == 1, "the source has moved on: the mistake must follow"
    assert not all(agrees(case, source.replace(old, new)) for case in cases)
