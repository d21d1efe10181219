"""The learner's own layers in the real model, `gpt.GPT`, which trains with them, beside the same model as it is.

    python -m exercises.own_model FOLDER NAME,NAME,… STEPS RESULT

The named exercises come from FOLDER, the others from the solutions. The real model keeps its positions and its head;
Linear, ReLU, attention, MLP, LayerNorm, block, embedding and loss are replaced, and so are AdamW and clipping. Both
models begin at the same weights and see the same batches.
"""

import json
import math
import os
import sys
import types
from pathlib import Path

from exercises.catalog import solved
from exercises.judge import Counting, Problem, guarded, limit_memory, load

PARTS = ("linear", "relu", "layernorm", "embedding", "cross_entropy", "attention", "self_attention", "mlp", "block")
PARTS += ("adamw", "clipping", "top_p")
SHAPE = {"block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 32}
BATCH, LETTERS, LR = 8, 4000, 3e-3


def swap(model, parts: dict[str, types.ModuleType]):
    """Put the learner's layers into the model, with the weights that are there. Returns the model."""
    from nanograd import Layer

    class Loss(Layer):
        """The learner's cross-entropy, called as the model calls its own."""

        def __init__(self):
            self.own = parts["cross_entropy"].CrossEntropy()

        def forward(self, logits, targets, *_, **__):
            return self.own(logits.copy(), targets)

        def backward(self):
            return self.own.backward(1.0)

    class Table(parts["embedding"].Embedding):
        """The learner's embedding, called as the model calls its own: with ids that it has checked."""

        def forward(self, ids, checked=True):
            return super().forward(ids)

    config, weights = model.config, model.state_dict()
    C, Linear = config.n_embd, parts["linear"].Linear

    def block():
        attention = parts["self_attention"].SelfAttention(
            config.n_head, Linear(C, 3 * C), parts["attention"].Attention(), Linear(C, C)
        )
        mlp = parts["mlp"].MLP(Linear(C, 4 * C), parts["relu"].ReLU(), Linear(4 * C, C))
        norms = parts["layernorm"].LayerNorm(C), parts["layernorm"].LayerNorm(C)
        return parts["block"].Block(norms[0], attention, norms[1], mlp)

    model.h = [block() for _ in model.h]
    model.wte = Table(config.vocab_size, C)
    model.ln_f = parts["layernorm"].LayerNorm(C)
    model.loss = Loss()
    own = dict(model.named_parameters())
    for name, value in weights.items():
        own[name].value[...] = value
    return model


def train(parts, text: str, steps: int) -> dict:
    """Both models, step by step: losses, and a line of text at the end."""
    import numpy as np

    from gpt import GPT, GPTConfig
    from nanograd import AdamW, Device, clip_grad_norm

    letters = sorted(set(text))
    tokens = np.array([letters.index(letter) for letter in text])
    config = GPTConfig(vocab_size=len(letters), qkv_bias=True, **SHAPE)
    models = [GPT(config, Device("numpy", dtype="float64", seed=0)) for _ in range(2)]
    plain, own = models[0], swap(models[1], parts)
    optimizer = AdamW(plain, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    moments = {name: (np.zeros(p.shape), np.zeros(p.shape)) for name, p in own.named_parameters()}
    rng, losses, difference = np.random.default_rng(0), [], 0.0
    for step in range(1, steps + 1):
        starts = rng.integers(0, len(tokens) - config.block_size, BATCH)
        windows = tokens[starts[:, None] + np.arange(config.block_size + 1)]
        both = []
        for model in (own, plain):
            model.zero_grad()
            both.append(float(model(windows[:, :-1], windows[:, 1:])[1]))
            model.backward()
        gradients, _ = parts["clipping"].clip({name: p.grad.copy() for name, p in own.named_parameters()}, 1.0)
        for name, p in own.named_parameters():
            new, *moments[name] = parts["adamw"].adamw(
                p.value.copy(), gradients[name], *moments[name], step, LR, 0.9, 0.95, 1e-8, 0.0
            )
            p.value[...] = new
        clip_grad_norm(plain, 1.0)
        optimizer.step()
        difference = max(difference, abs(both[0] - both[1]))
        if step == 1 or step % 10 == 0 or step == steps:
            losses.append((step, *both))
    text = write_on(own, parts["top_p"].top_p, tokens[: config.block_size // 2], letters, rng)
    parameters = sum(p.value.size for p in own.parameters())
    ln_v = math.log(len(letters))
    return {"losses": losses, "difference": difference, "text": text, "parameters": parameters, "ln_v": ln_v}


def write_on(model, top_p, ids, letters, rng, count: int = 60) -> str:
    """`count` letters after `ids`, drawn with the learner's top-p."""
    import numpy as np

    ids = list(ids)
    for _ in range(count):
        logits, _ = model(np.array([ids[-model.config.block_size :]]))
        z = top_p(np.array(logits[0, -1], dtype=float), 0.9)
        p = np.exp(z - z.max())
        ids.append(int(rng.choice(len(letters), p=p / p.sum())))
    return "".join(letters[i] for i in ids).replace("\n", " ")


def main(folder: str, names: str, steps: str, result: str) -> None:
    from gpt.files import shipped

    limit_memory()
    sys.stdout = sys.stderr = Counting()
    found, part = {"problem": ""}, ""
    try:
        parts = {}
        for part in PARTS:
            own = part in names.split(",")
            parts[part] = load(Path(folder) / f"{part}.py") if own else solved(part)
        part = "train"
        text = (shipped("data") / "tales.txt").read_text(encoding="utf-8")[:LETTERS]
        found |= guarded(Path(folder), "train", lambda: train(parts, text, int(steps)))
    except Problem as problem:
        found = {"problem": problem.key, "values": problem.values, "part": part}
    Path(result).write_text(json.dumps(found), encoding="utf-8")
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:5])
