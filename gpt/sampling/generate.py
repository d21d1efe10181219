"""From logits to tokens: `generate`, and the loop behind it.

At every step the model scores each token of the vocabulary; the controls (filters.py says which and in what
order) reshape the scores, and one token is chosen and fed back. The choice is made on the host, in float64, one
row of logits at a time, so that it is the same on every backend.

**Every choice comes from the seed.** Sample number i draws one uniform number a token from a stream of its own,
keyed by (seed, i). So a sample does not depend on how many others are made beside it, or on when they end. (The
model's arithmetic may round differently in another batch size: that moves a choice only where a uniform number
falls within float32 rounding of the border between two tokens.) At temperature 0 the most likely token is
taken, the lowest id of several, and no number is drawn.
"""

import contextlib
import difflib
import math
import operator
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from gpt.config.options import ChoiceFlags
from gpt.errors import RunError, UsageError, flags_as_parameters
from gpt.sampling import filters
from gpt.sampling.kv_cache import Decoder
from gpt.sampling.streaming import Completion
from nanograd.device.device import as_array

NOTHING = contextlib.nullcontext()
SAMPLING = 0x53414D50  # what these draws are for, among all that start from one seed


class Token(NamedTuple):
    """One token of a sample. `logprob` and `best` are filled in when log-probabilities are asked for."""

    id: int
    logprob: float | None = None  # natural logarithm of its probability
    best: tuple[tuple[int, float], ...] = ()  # (id, logprob) of the k most likely tokens, the best first


def generate(
    model,
    ids: Sequence[int] | Sequence[Sequence[int]],
    max_new_tokens: int = 100,
    *,
    eos_id: int | Sequence[int] = (),
    stop: Sequence[str] = (),
    tokenizer=None,
    exact_window: bool = False,
    **controls,
) -> Iterator[int] | Iterator[list[int | None]]:
    """Yield up to `max_new_tokens` token ids, as ints, that continue the prompt `ids` (at least one id).

        for token in generate(model, ids, max_new_tokens=100, temperature=0.8, top_k=40, top_p=0.95, seed=0): ...
        for tokens in generate(model, [[1, 2], [3, 4, 5]], temperature=0): ...

    Several prompts, of any lengths, are continued side by side: each step then yields a list, None for those that have
    ended.

    `controls` are those of sample.py, with its defaults: repetition_penalty, frequency_penalty,
    presence_penalty, temperature, top_k, top_p, min_p and seed, as `gpt.config.ChoiceFlags` lists them. `ids`
    may be longer than the model's context: the window slides, with `exact_window` as it was in training whatever the
    positions are (kv_cache.py). It ends after `eos_id`, or any of several, and with `stop` strings (and the `tokenizer`
    to read the tokens with) after the token that completes one of them.

    Raises UsageError for a value out of range, TypeError for an unknown control, RunError if the model's logits
    are not finite.
    """
    if stop and tokenizer is None:
        raise UsageError("stop strings need the tokenizer: generate(..., stop=[...], tokenizer=tokenizer)")
    check_names(controls)
    batch = Generation(model, ids, max_new_tokens, eos_id=eos_id, exact_window=exact_window, **controls)
    texts = [Completion(tokenizer, stop) for _ in batch.prompts] if stop else []

    def steps():
        for step in batch:
            yield [token and token.id for token in step] if batch.several else step[0].id
            for i, (text, token) in enumerate(zip(texts, step, strict=False)):
                if token is not None:
                    text.add(token)
                    if text.finish_reason:
                        batch.finish(i)

    return steps()


def generate_batch(model, ids: Sequence[int], max_new_tokens: int = 100, **options) -> "Generation":
    """Several samples of one prompt, or of each of several, at once: the `Generation` that yields them step by step."""
    return Generation(model, ids, max_new_tokens, **options)


class Generation:
    """Samples of one prompt, generated as one batch. Iterating yields, for each step, a list of `num_samples`.

    With several prompts, of any lengths, the list has `num_samples` for each, those of the first prompt first.

    An item of the list is the `Token` that its sample chose, or None for a sample that has finished: after `eos_id`,
    or when the caller says so, `finish(i)`. When all have, or after `max_new_tokens` steps, the iteration ends.

        batch = Generation(model, ids, 100, num_samples=4, seed=0, logprobs=5)
        for step in batch:
            for i, token in enumerate(step): ...

    `logprobs=k` gives each token its log-probability and the k best tokens with theirs (k may be 0). They are
    those of **the model's own distribution**, before penalties, temperature and filters, as in vLLM and in
    OpenAI's API. `first_sample` numbers the samples from there on: sample 3 of a batch of four is the one of a
    batch of one with `first_sample=3`. `first` (V,) bool says which tokens a sample may begin with, None that all
    may. Other arguments, and what is raised, as in `generate`.

    The model is in evaluation mode while it computes, and between two steps in the mode it was in before.
    """

    def __init__(
        self,
        model,
        ids: Sequence[int] | Sequence[Sequence[int]],
        max_new_tokens: int = 100,
        *,
        num_samples: int = 1,
        first_sample: int = 0,
        logprobs: int | None = None,
        seed: int | None = None,
        first: np.ndarray | None = None,
        eos_id: int | Sequence[int] = (),
        exact_window: bool = False,
        **controls,
    ):
        self.model, self.exact_window = model, exact_window
        self.vocab_size = model.config.vocab_size
        self.several = is_nested(ids)
        prompts = [check_prompt(prompt, self.vocab_size) for prompt in (ids if self.several else [ids])]
        self.max_new_tokens = check_count("max_new_tokens", max_new_tokens, at_least=0)
        self.num_samples = check_count("num_samples", num_samples, at_least=1)
        self.logprobs = None if logprobs is None else check_count("logprobs", logprobs, at_least=0)
        self.seed = fresh_seed() if seed is None else seed
        self.controls = check_controls(self.seed, controls)
        self.eos_ids = check_eos(eos_id, self.vocab_size)
        self.prompts = [prompt for prompt in prompts for _ in range(self.num_samples)]
        self.finished = [False] * len(self.prompts)
        self._choosers = [
            Chooser(self.controls, prompt, self.vocab_size, first_sample + i, first)
            for i, prompt in enumerate(self.prompts)
        ]

    def finish(self, sample: int) -> None:
        """Ask for no more tokens of this sample."""
        self.finished[sample] = True

    def __iter__(self) -> Iterator[list[Token | None]]:
        decoder = Decoder(self.model, len(self.prompts), self.exact_window)
        tokens = None
        for _ in range(self.max_new_tokens):
            # Not around the yield: the caller may train between two tokens.
            with evaluation_mode(self.model) if self.model.training else NOTHING:
                logits = decoder.prefill(self.prompts) if tokens is None else decoder.decode(tokens)
            logits = self.model.device.to_host(logits)  # (B, V)
            step = [None if done else self._choose(i, logits[i]) for i, done in enumerate(self.finished)]
            yield step
            if all(self.finished):
                return
            tokens = np.array([token.id if token else 0 for token in step])  # (B,); the logits after 0 are not used

    def _choose(self, sample: int, logits) -> Token:
        token = self._choosers[sample](logits)
        if token in self.eos_ids:
            self.finish(sample)
        if self.logprobs is None:
            return Token(token)
        logprobs = filters.log_softmax(logits.astype(np.float64))
        best = most_likely(logprobs, self.logprobs)
        return Token(token, float(logprobs[token]), tuple((int(i), float(logprobs[i])) for i in best))


@contextlib.contextmanager
def evaluation_mode(model) -> Iterator[None]:
    """Inside, dropout is off; afterwards the model is in training mode again."""
    model.eval()
    try:
        yield
    finally:
        model.train()


class Chooser:
    """Chooses the tokens of one sample: its controls, its random numbers, and what it has said so far."""

    def __init__(self, controls: ChoiceFlags, prompt, vocab_size: int, sample: int, first=None):
        self.controls, self.first = controls, first
        self.uniform = np.random.default_rng([controls.seed, SAMPLING, sample]).random
        self.counts = self.seen = None
        if (controls.repetition_penalty, controls.frequency_penalty, controls.presence_penalty) != (1, 0, 0):
            self.counts = np.zeros(vocab_size)
            self.seen = np.zeros(vocab_size, dtype=bool)
            self.seen[prompt] = True

    def __call__(self, logits) -> int:
        """The next token, for the model's scores (V,) after the last one. Raises RunError if they are not finite."""
        best = int(logits.argmax())  # of NaN argmax makes the largest of all
        if not math.isfinite(logits[best]):
            raise RunError("the model's scores are not finite: its weights are damaged, or its training diverged")
        if self.first is not None:
            logits, self.first = np.where(self.first, logits, -np.inf), None  # (V,)
            best = int(logits.argmax())
        if self.counts is None and self.controls.temperature == 0:
            return best
        reshaped = apply_controls(self.controls, logits.astype(np.float64), self.seen, self.counts)
        token = int(reshaped.argmax()) if self.controls.temperature == 0 else filters.draw(reshaped, self.uniform())
        if self.counts is not None:
            self.counts[token] += 1
            self.seen[token] = True
        return token


def apply_controls(controls: ChoiceFlags, logits, seen=None, counts=None):
    """The logits (V,) that a token is drawn from, all controls applied in their order: float64, (V,).

    `seen` (V,) bool and `counts` (V,) are what the penalties look at (filters.py); None when there are none.
    At temperature 0 only the penalties apply: the largest logit is the choice.
    """
    if controls.repetition_penalty != 1:
        logits = filters.repetition_penalty(logits, seen, controls.repetition_penalty)
    if controls.frequency_penalty:
        logits = filters.frequency_penalty(logits, counts, controls.frequency_penalty)
    if controls.presence_penalty:
        logits = filters.presence_penalty(logits, counts, controls.presence_penalty)
    if controls.temperature == 0:
        return logits
    if controls.temperature != 1:
        logits = filters.temperature(logits, controls.temperature)
    if controls.top_k:
        logits = filters.top_k(logits, controls.top_k)
    if controls.top_p < 1:
        logits = filters.top_p(logits, controls.top_p)
    if controls.min_p:
        logits = filters.min_p(logits, controls.min_p)
    return logits


def most_likely(logits, k: int):
    """The ids of the k largest of (V,) values, the largest first, equal ones by rising id."""
    ids = np.flatnonzero(filters.top_k(logits, k) > -np.inf) if k else np.array([], dtype=int)
    return ids[np.argsort(-logits[ids], kind="stable")]


ELSEWHERE = {  # what other libraries call it, and what there is here
    "do_sample": "temperature=0 takes the likeliest token, any other temperature draws one",
    "max_length": "max_new_tokens counts the tokens that are added",
    **dict.fromkeys(
        ("num_return_sequences", "num_samples"), "generate_batch(..., num_samples=N) makes several samples of a prompt"
    ),
    "logprobs": "generate_batch(..., logprobs=K) yields tokens with their log-probabilities",
    "eos_token_id": "eos_id is the id that ends a sample",
    "stop_strings": "stop is a list of texts that end a sample",
    "typical_p": "min_p is the nearest there is",
}


def check_names(controls: Iterable[str]) -> None:
    """Raise TypeError, with a hint, for the first of these names that is no control."""
    names = [field.name for field in fields(ChoiceFlags)]
    for name in controls:
        if name not in names:
            near = difflib.get_close_matches(
                name, [*names, "max_new_tokens", "eos_id", "stop", "tokenizer", "exact_window"], n=1
            )
            hint = ELSEWHERE.get(name) or (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")
            raise TypeError(f"generate has no parameter {name}: {hint}")


def check_controls(seed: int, controls: dict) -> ChoiceFlags:
    """The controls under Python's names. Raises TypeError for one that is not there, UsageError for a wrong value."""
    check_names(controls)
    with flags_as_parameters():
        return ChoiceFlags(seed=seed, **controls)


def check_eos(eos_id, vocab_size: int) -> frozenset[int]:
    """The ids that end a sample. Raises UsageError for one that is none."""
    ids = list(eos_id) if isinstance(eos_id, Iterable) else [] if eos_id is None else [eos_id]
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int | np.integer) or not 0 <= one < vocab_size:
            raise UsageError(f"eos_id must be an id of the vocabulary, 0 to {vocab_size - 1}, or several, not {one!r}")
    return frozenset(map(int, ids))


def fresh_seed() -> int:
    """A random seed, for when none is given."""
    return secrets.randbelow(2**32)


def check_count(name: str, value: int, at_least: int) -> int:
    """`value` as an int; raises UsageError unless it is a whole number of at least `at_least`."""
    try:
        count = operator.index(value)
    except TypeError:
        count = at_least - 1
    if isinstance(value, bool) or count < at_least:
        raise UsageError(f"{name} must be a whole number of at least {at_least}, not {value!r}")
    return count


def is_nested(ids) -> bool:
    """Are these several prompts, a sequence of sequences?"""
    if hasattr(ids, "ndim"):
        return ids.ndim == 2
    several = isinstance(ids, list | tuple) and bool(ids)
    return several and all(hasattr(one, "__len__") and not isinstance(one, str) for one in ids)


def check_prompt(ids: Sequence[int], vocab_size: int):
    """The prompt as an integer array (T,), T >= 1; raises UsageError if it is empty or not made of ids."""
    try:
        prompt = as_array(ids)
    except ValueError:  # rows of unequal length
        raise UsageError("a prompt must be a flat sequence of token ids, and several a list of such") from None
    if prompt.size == 0:
        raise UsageError("the prompt is empty: generation needs at least one token to start from")
    if prompt.ndim != 1 or prompt.dtype.kind not in "iu":
        raise UsageError("the prompt must be a flat sequence of token ids, whole numbers")
    if prompt.min() < 0 or prompt.max() >= vocab_size:
        wrong = prompt[(prompt < 0) | (prompt >= vocab_size)][0]
        raise UsageError(f"token id {wrong} of the prompt is outside the vocabulary, 0 to {vocab_size - 1}")
    return prompt.astype(np.int64)
