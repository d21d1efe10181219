"""The controls of sampling, each a small pure function of one row of logits.

A row is the model's score of every token of the vocabulary, float64 of shape (V,); with z a row,
softmax(z)_i = exp(z_i) / sum_j exp(z_j) is the probability of token i. Every function here takes a row and
returns a new one. The penalties and the temperature move logits; the filters (top_k, top_p, min_p) put minus
infinity, which is probability 0, where a token is dropped, and leave the others as they were.

The order in which `gpt.sampling` applies them:

    repetition_penalty, frequency_penalty, presence_penalty, temperature, top_k, top_p, min_p

That is also the order of Hugging Face's `generate`. vLLM has min_p before top_k and top_p: the same tokens
survive unless top_p is below 1, which then counts its p over what min_p left.

**Ties** are broken by token id: among tokens of equal logits the lower ids are kept. So `top_k` keeps exactly
k tokens and `top_p` a smallest set, and two runs keep the same ones. (Hugging Face and vLLM keep every token
that ties with the k-th.)
"""

import numpy as np

# Sums of float64 probabilities are good to about 1e-15 a term. A sum that is short of p by less than this has
# reached p: of 0.5, 0.3, 0.1, 0.1 top_p = 0.9 keeps three, though in binary the first three make 0.8999....
ROUNDING = 1e-12
FEW = 256  # so many are quickly sorted


def repetition_penalty(logits, seen, theta):
    """Make every token seen so far less likely by a factor theta on its logit (more likely below 1).

        z_i -> z_i / theta  where z_i > 0,     z_i * theta  where z_i <= 0,      for every seen token i

    `seen` is boolean, (V,): the tokens of the prompt and of what was sampled. theta > 0; 1 changes nothing.
    Source: CTRL (Keskar et al. 2019, section 4.1), which divides every seen logit by theta. Dividing a
    negative one would make its token more likely, so it is multiplied, as in Hugging Face and vLLM.
    """
    return np.where(seen, np.where(logits > 0, logits / theta, logits * theta), logits)


def frequency_penalty(logits, counts, alpha):
    """Make a token less likely each time it is sampled: z_i -> z_i - alpha * c_i.

    `counts` (V,) holds c_i, how often token i was sampled; the prompt does not count. Source: OpenAI's API
    reference, "frequency and presence penalties". alpha = 0 changes nothing.
    """
    return logits - alpha * counts


def presence_penalty(logits, counts, alpha):
    """Make a token less likely once it has been sampled: z_i -> z_i - alpha * [c_i > 0].

    `counts` as in `frequency_penalty`. Source: OpenAI's API reference. alpha = 0 changes nothing.
    """
    return logits - alpha * (counts > 0)


def temperature(logits, t):
    """Sharpen (t < 1) or flatten (t > 1) the distribution: z_i -> (z_i - max z) / t, for t > 0.

    The probabilities are those of z / t (Ackley, Hinton & Sejnowski 1985); taking off the maximum first does
    not change them. Its limit at t = 0 is the greedy choice, which `gpt.sampling` makes without coming here;
    a t below 1e-200, where nothing is left of any other token, counts as that, and nothing overflows.
    """
    shifted = logits - _largest(logits)
    shifted /= max(t, 1e-200)
    return shifted


def top_k(logits, k):
    """Keep the k largest logits, of equal ones the lowest ids; k = 0 or k >= V keeps all.

    Source: Fan, Lewis & Dauphin 2018, "Hierarchical Neural Story Generation". Idempotent.
    """
    if k == 0 or k >= logits.size:
        return logits.copy()
    smallest_kept = np.partition(logits, logits.size - k)[logits.size - k]
    return _keep_largest(logits, k, smallest_kept)


def top_p(logits, p):
    """Keep the smallest set of tokens whose probabilities sum to p or more, 0 < p <= 1; p = 1 keeps all.

    With tokens sorted by falling probability (equal ones by rising id), keep the first k, where k is the
    least number with q_1 + ... + q_k >= p. The most likely token always survives. Source: nucleus sampling,
    Holtzman et al. 2020, section 3.1, equation 2. Not idempotent: what is left sums to 1 again, so a second
    pass may drop more.
    """
    if p >= 1:
        return logits.copy()
    alive = logits[logits > -np.inf]
    for m in (FEW, 16 * FEW, alive.size):  # few tokens make up p as a rule: sort no more than needed
        largest = alive if m >= alive.size else np.partition(alive, alive.size - m)[-m:]
        largest = np.sort(largest)[::-1]
        reached = _weights(largest).cumsum()
        target = (p - ROUNDING) * (reached[-1] if m >= alive.size else _weights(alive).sum())
        if reached[-1] >= target:
            break
    k = min(int(reached.searchsorted(target)) + 1, largest.size)
    return _keep_largest(logits, k, largest[k - 1])


def min_p(logits, p):
    """Keep the tokens at least p times as likely as the most likely one: q_i >= p * max q, 0 <= p <= 1.

    On logits: z_i >= max z + ln p. The most likely token always survives. Source: Nguyen et al. 2024
    (arXiv 2407.01082). Idempotent. p = 0 keeps all.
    """
    if p == 0:
        return logits.copy()
    return np.where(logits >= logits.max() + (np.log(p) - ROUNDING), logits, -np.inf)


def _keep_largest(logits, k, smallest_kept):
    """The k largest logits, the k-th of which is `smallest_kept`; of those that tie, the lowest ids."""
    keep = logits >= smallest_kept
    surplus = np.count_nonzero(keep) - k
    if surplus:
        keep[np.flatnonzero(logits == smallest_kept)[-surplus:]] = False
    return np.where(keep, logits, -np.inf)


def softmax(logits):
    """The probabilities (V,) of a row: they sum to 1, and are 0 where the logit is minus infinity."""
    e = _weights(logits)
    e /= e.sum()
    return e


def log_softmax(logits):
    """The natural logarithms (V,) of the probabilities of a row, exact for improbable tokens too."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def draw(logits, u):
    """The token that the uniform number u, in [0, 1), picks from a row of logits, by the inverse of the CDF.

    Token i owns the stretch of [0, 1) from q_0 + ... + q_{i-1} to q_0 + ... + q_i, in order of id; a token of
    probability 0 owns nothing and is never drawn.
    """
    ids = (logits > -np.inf).nonzero()[0]
    cdf = _weights(logits[ids]).cumsum()
    i = cdf.searchsorted(u * cdf[-1], side="right")
    if i == ids.size:  # u * sum rounded up to the sum: the last token that added to it
        i = cdf.searchsorted(cdf[-1])
    return int(ids[i])


def _weights(logits):
    """exp(z - max z): proportional to the probabilities, the largest of them 1."""
    e = logits - _largest(logits)
    return np.exp(e, out=e)


def _largest(logits):
    """The largest of a row, as `max` gives it; for short rows in a quarter of its time."""
    return logits[logits.argmax()]
