"""A model that says what a test wants: logits by a rule of the ids so far, no weights, no arithmetic."""

from types import SimpleNamespace

import numpy as np

from nanograd.device.device import Device


class FakeModel:
    """`rule(ids)` gives the logits (V,) after the ids of one sequence.

    `calls` are the lengths of the prompts, then 1 for each step.
    """

    def __init__(self, rule, vocab_size):
        self.rule = rule
        self.config = SimpleNamespace(vocab_size=vocab_size, block_size=64)
        self.device = Device("numpy")
        self.training = True
        self.calls = []

    def train(self, training=True):
        self.training = training
        return self

    def eval(self):
        return self.train(False)


class FakeDecoder:
    """Stands in for gpt.sampling.kv_cache.Decoder."""

    def __init__(self, model, batch_size, exact_window=False):
        self.model, self.batch_size = model, batch_size

    def prefill(self, prompts):
        assert not self.model.training
        assert len(prompts) == self.batch_size and all(len(prompt) for prompt in prompts)
        self.model.calls.append(tuple(map(len, prompts)))
        self.ids = [list(prompt) for prompt in prompts]
        return self._logits()

    def decode(self, ids):
        assert not self.model.training
        assert ids.dtype.kind == "i" and ids.shape == (self.batch_size,)
        self.model.calls.append(1)
        for row, token in zip(self.ids, ids, strict=True):
            row.append(int(token))
        return self._logits()

    def _logits(self):
        return np.array([self.model.rule(row) for row in self.ids], dtype=np.float32)


def constant(*logits):
    """A model that scores its tokens the same way every time."""
    return FakeModel(lambda ids: logits, len(logits))


def random_table(vocab_size, seed=0):
    """A model whose logits depend on the last token and on how many there are."""
    table = np.random.default_rng(seed).normal(size=(16, vocab_size, vocab_size)) * 1.5
    return FakeModel(lambda ids: table[len(ids) % 16, ids[-1]], vocab_size)


def saying(tokens, vocab_size):
    """A model that is certain of what comes: `tokens` one after the other, however long the prompt of one was."""
    return FakeModel(lambda ids: 30.0 * (np.arange(vocab_size) == tokens[(len(ids) - 1) % len(tokens)]), vocab_size)
