"""The loss in other units: perplexity, and bits a byte.

The loss is the mean of -ln p(token) in nats a token. Its exponential, the perplexity, is the number of equally
likely tokens that would be as hard to guess. Both depend on how large the tokens are: one tokenizer's loss says
nothing about another's. Counted per byte of text they can be compared, for the text has the same bytes however
it is cut:

    bits a byte = (nats a token / ln 2) / (bytes a token)

which is also the size, in bits for each byte, that the text could be compressed to with this model.
"""

import math

import numpy as np

PIECE = 1 << 20  # ids looked up at a time


def perplexity(loss: float) -> float:
    """exp of a loss in nats; infinity where that is more than a float holds."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """A loss in nats a token as bits a byte, for text of so many bytes a token."""
    return loss / math.log(2) / bytes_per_token


def count_bytes(tokens: np.ndarray, tokenizer) -> int:
    """The bytes of text that the ids `tokens` (N,) stand for."""
    lengths = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])
    return sum(int(lengths[tokens[start : start + PIECE]].sum()) for start in range(0, len(tokens), PIECE))
