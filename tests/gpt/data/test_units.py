import math

import numpy as np
import pytest

from gpt.data.units import bits_per_byte, count_bytes, perplexity
from tokenizers import BPETokenizer, CharTokenizer

TEXT = "a naïve 熊 met a 🦊 by the river, and a bear met a bear by the boat. " * 5


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e4) == math.inf


def test_bits_a_byte_of_a_uniform_guess_among_bytes_is_eight():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8)
    assert bits_per_byte(math.log(256), 4.0) == pytest.approx(2)


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda text: BPETokenizer.train(text, 300)])
def test_bytes_are_those_of_the_text(train):
    tokenizer = train(TEXT)
    tokens = np.array(tokenizer.encode(TEXT), dtype=np.uint16)
    assert count_bytes(tokens, tokenizer) == len(TEXT.encode())
    assert count_bytes(tokens[:0], tokenizer) == 0
