"""Training: forward, backward, clip, update; again. `python -m nanograd.reference.training` does it on a sentence."""

import numpy as np

from nanograd.reference.adamw import adamw, clip_gradients
from nanograd.reference.model import gpt_backward, gpt_loss, new_parameters
from nanograd.reference.sampling import sample


def random_batch(tokens, B, T, rng):  # (n,) ids -> two (B, T): windows of the text, and the same moved on by one
    starts = rng.integers(0, len(tokens) - T, B)
    windows = tokens[starts[:, None] + np.arange(T + 1)]  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def training_step(p, m, v, t, ids, targets, n_head, lr, max_norm=1.0, weight_decay=0.01):
    """One step, number t = 1, 2, …; p, m, v are {name: array}. Returns the loss before it, and new p, m, v."""
    loss = gpt_loss(ids, targets, p, n_head)
    grads, _ = clip_gradients(gpt_backward(1.0, ids, targets, p, n_head), max_norm)
    new = {n: adamw(p[n], grads[n], m[n], v[n], t, lr, weight_decay=weight_decay) for n in p}
    return loss, *({n: triple[i] for n, triple in new.items()} for i in range(3))


def main():
    text = "the cat sat on the mat and the dog sat on the log. " * 4
    letters = sorted(set(text))
    tokens = np.array([letters.index(letter) for letter in text])
    rng = np.random.default_rng(0)
    p = new_parameters(V=len(letters), T=16, C=32, n_layer=2, rng=rng)
    m, v = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))
    print(f"{sum(value.size for value in p.values())} parameters; ln V = {np.log(len(letters)):.4f}")
    for t in range(1, 151):
        ids, targets = random_batch(tokens, B=8, T=16, rng=rng)
        loss, p, m, v = training_step(p, m, v, t, ids, targets, n_head=4, lr=3e-3)
        if t == 1 or t % 50 == 0:
            print(f"step {t:3}: loss {loss:.4f}")
    start = [letters.index(letter) for letter in "the "]
    print("".join(letters[i] for i in sample(p, start, 60, n_head=4, rng=rng, temperature=0.5)))


if __name__ == "__main__":
    main()
