"""Chapter 11: from scores to a token, and the KV cache."""

import time

import numpy as np
from book.drawing import BLUE, GREY, ORANGE, new_figure
from book.formulas import block, markdown_table, matrix, number, vector
from book.measured import measured

from gpt import GPT, GPTConfig
from gpt.sampling.filters import frequency_penalty, presence_penalty
from gpt.sampling.kv_cache import Decoder
from nanograd import Device
from nanograd.reference.attention import attention, scores
from nanograd.reference.rope import angles, rotate
from nanograd.reference.sampling import top_k, top_p
from nanograd.reference.softmax import softmax

TOKENS = "mat", "log", "bed", "sky"
WEIGHTS = np.array([8.0, 4.0, 2.0, 1.0])
Z = np.log(WEIGHTS)


def given():
    sums = " + ".join(number(w) for w in WEIGHTS)
    return block(
        r"z &= (\ln 8, \ln 4, \ln 2, \ln 1)",
        rf"e^z &= {vector(WEIGHTS)} \qquad {sums} = {number(WEIGHTS.sum())}",
        rf"p &= {vector(softmax(Z), 3)}",
    )


def temperatures():
    def line(t):
        e = np.exp(Z / t)
        yield rf"t = {number(t)}: \quad p &= {vector(e, 2)} \,/\, {number(e.sum(), 2)}"
        yield rf"&= {vector(softmax(Z / t), 3)}"

    return block(*line(0.5), *line(1.0), *line(2.0))


def filters():
    """What the filters leave of it, by the plain functions."""
    kept = {"all": Z, "top_k = 2": top_k(Z, 2), "top_p = 0.9": top_p(Z, 0.9), "top_p = 0.5": top_p(Z, 0.5)}
    for name, z in kept.items():
        left = " ".join(token for token, score in zip(TOKENS, z, strict=True) if score > -np.inf)
        print(f"{name:12}  p = {vector(softmax(z), 3):28}  {left}")


def running_sums():
    return vector(np.cumsum(softmax(Z)), 3)


def drawn():
    return TOKENS[int(np.searchsorted(np.cumsum(softmax(Z)), 0.6, side="right"))]


def order_matters():
    """Temperature 2 before top_p = 0.75, and after it."""
    before = top_p(Z / 2, 0.75)
    after = top_p(Z, 0.75) / 2
    for what, z in (("temperature, then top_p", before), ("top_p, then temperature", after)):
        print(f"{what}:  {' '.join(token for token, score in zip(TOKENS, z, strict=True) if score > -np.inf)}")


def penalties():
    """The weights e^z of the four tokens after penalties of ln 2; mat was drawn twice, log once."""
    counts = np.array([2, 1, 0, 0])
    for what, z in (
        ("none", Z),
        ("frequency", frequency_penalty(Z, counts, np.log(2))),
        ("presence", presence_penalty(Z, counts, np.log(2))),
    ):
        print(f"{what:10}  e^z = {vector(np.exp(z), 2):20}  p = {vector(softmax(z), 3)}")


def reshaped():
    """Five bar charts of one distribution: temperature 0.5, 1 and 2, then top-k 2 and top-p 0.9."""
    charts = {
        "t = 0.5": Z / 0.5,
        "as it is": Z,
        "t = 2": Z / 2,
        "top-k 2": top_k(Z, 2),
        "top-p 0.9": top_p(Z, 0.9),
    }
    figure, axes = new_figure(1, 5, width=7.4, height=2.8, sharey=True)
    for chart, (title, z) in zip(axes, charts.items(), strict=True):
        p = softmax(z)
        chart.bar(TOKENS, p, color=GREY if title == "as it is" else BLUE if title.startswith("t =") else ORANGE)
        chart.set(title=title, ylim=(0, 1))
        chart.tick_params(axis="x", labelrotation=60)
    axes[0].set(ylabel="probability")
    return figure


# The KV cache

Q = np.array([[1.0], [2.0], [1.0]])
K = np.array([[0.0], [np.log(3)], [np.log(2)]])
V = np.array([[2.0], [4.0], [6.0]])


def weights_of(n: int):
    return softmax(scores(Q[:n], K[:n]))


def two_positions():
    return block(rf"P &= {matrix(weights_of(2))}", rf"o &= P v = {matrix(attention(Q[:2], K[:2], V[:2]))}")


def three_positions():
    return block(rf"P &= {matrix(weights_of(3))}", rf"o &= P v = {matrix(attention(Q, K, V))}")


def last_row():
    o = attention(Q, K, V)[2, 0]
    return block(
        r"S_3 &= (1 \cdot 0, \ 1 \cdot \ln 3, \ 1 \cdot \ln 2)",
        rf"e^{{S_3}} &= (1, 3, 2), \qquad P_3 = {vector(weights_of(3)[2], 3)}",
        rf"o_3 &= (1 \cdot 2 + 3 \cdot 4 + 2 \cdot 6) / 6 = {number(o)}",
    )


def operations(positions: int, T: int, C: int = 128, layers: int = 2, V: int = 512) -> int:
    """Multiplications and additions in the matrix products of `positions` positions that each look at T."""
    return positions * (layers * (2 * 12 * C * C + 2 * 2 * T * C) + 2 * C * V)


def counted(lang):
    head = {"en": ("tokens so far", "the whole window", "with a cache"), "zh": ("已有词元", "整个窗口", "有缓存")}
    rows = [(T, f"{operations(T, T):,}", f"{operations(1, T):,}") for T in (1, 8, 32, 64)]
    return markdown_table(head[lang], "rrr", rows)


def cache_bytes(layers: int, T: int, width: int, bytes_each: int) -> int:
    return 2 * layers * T * width * bytes_each


def small_cache():
    return f"{cache_bytes(2, 64, 128, 4) // 1024} KiB"


def gpt2_cache():
    return f"{cache_bytes(12, 1024, 768, 4) / 2**20:.0f} MiB"


def moved_together():
    """A query and a key, four positions apart, at the beginning and 100 positions later."""
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 1, 8))
    phi = angles(200, 8)
    for s, t in ((5, 1), (105, 101), (105, 1)):
        product = rotate(q, phi[s : s + 1])[0] @ rotate(k, phi[t : t + 1])[0]
        print(f"query at {s:3}, key at {t:3}: q . k = {product:.4f}")


BLOCK, STEPS, ROUNDS = 64, 160, 15


def token_times():
    """Seconds of every token, with a cache (learned positions, RoPE) and with a forward pass over the window."""
    shape = {"vocab_size": 512, "block_size": BLOCK, "n_layer": 2, "n_head": 4, "n_embd": 128}
    models = {
        name: GPT(GPTConfig(**shape, position=name), Device("numpy", seed=0)).eval() for name in ("learned", "rope")
    }
    ids = np.random.default_rng(0).integers(0, 512, STEPS + 1)
    seconds = {name: np.empty((ROUNDS, STEPS)) for name in ("whole", "learned", "rope")}
    for number_of_round in range(ROUNDS):
        decoders = {name: Decoder(model) for name, model in models.items()}
        for decoder in decoders.values():
            decoder.prefill([ids[:1]])
        for step in range(STEPS):
            for name, decoder in decoders.items():
                start = time.perf_counter()
                decoder.decode(ids[step + 1 : step + 2])
                seconds[name][number_of_round, step] = time.perf_counter() - start
            window = ids[max(0, step + 2 - BLOCK) : step + 2]
            start = time.perf_counter()
            models["learned"](window[None])
            seconds["whole"][number_of_round, step] = time.perf_counter() - start
    return {name: np.round(np.median(all_of, 0), 7).tolist() for name, all_of in seconds.items()}


def milliseconds(name: str, within: slice) -> float:
    return 1e3 * float(np.median(measured("sampling.token_times")[name][within]))


FULL, BEYOND = slice(48, 62), slice(70, STEPS)


def ratio_within():
    return f"{milliseconds('whole', FULL) / milliseconds('learned', FULL):.0f}"


def ratio_beyond():
    return f"{milliseconds('learned', BEYOND) / milliseconds('rope', BEYOND):.0f}"


def over_positions():
    """Time of a token over its position: a cache is flat until the context is full at 64; with RoPE it stays flat."""
    found = measured("sampling.token_times")
    figure, axes = new_figure()
    position = np.arange(2, STEPS + 2)
    labels = {
        "whole": ("the whole window each time", GREY),
        "learned": ("cache, learned positions", BLUE),
        "rope": ("cache, RoPE", ORANGE),
    }
    for name, (label, colour) in labels.items():
        axes.plot(position, np.array(found[name]) * 1e3, color=colour, label=label)
    axes.axvline(BLOCK + 0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set(xlabel="position of the token", ylabel="ms a token", ylim=(0, None))
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.37))
    return figure
