import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.pictures.next_token import WAVERING, _bars, draw_next_token, undecided
from gpt.sampling.filters import softmax
from tests.support.marks import slow
from tokenizers import CharTokenizer

TOKENIZER = CharTokenizer.train("abc $%\n^_xyz")
CONTROLS = {"temperature": 0.5, "top_k": 3, "top_p": 0.8}


@pytest.fixture
def model(float64):
    return GPT(GPTConfig(12, block_size=16, n_layer=1, n_head=2, n_embd=16), float64).eval()


def test_bars_add_up_to_one():
    q = np.array([0.5, 0.1, 0.3, 0.1])
    assert _bars(q, np.array([0, 2]), 2) == pytest.approx([0.5, 0.3, 0.2])
    assert _bars(q, np.arange(4), 0) == pytest.approx(q)


def test_undecided_is_where_the_best_token_is_about_that_likely(model):
    model.lm_head.weight.value *= 40  # sure here, unsure there
    ids = [1, 5, 3, 8, 2, 2, 7, 0, 11, 4]
    cut = undecided(model, ids)
    logits, _ = model(np.array([ids]))
    distance = [abs(softmax(row).max() - WAVERING) for row in logits[0]]
    assert 4 <= cut <= len(ids) and distance[cut - 1] == min(distance[3:])
    assert undecided(model, [1, 2]) == 2 and undecided(model, [1]) == 1


@pytest.mark.parametrize("ids", [[1], slow(list(range(12))), slow([3] * 40)])
def test_it_is_drawn_for_short_and_long_prompts(model, tmp_path, ids):
    draw_next_token(model, TOKENIZER, ids, tmp_path / "next.png", **CONTROLS)
    assert (tmp_path / "next.png").stat().st_size > 1000
