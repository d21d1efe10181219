import contextlib
from itertools import pairwise

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.pictures import figure
from gpt.pictures import next_token as module
from gpt.pictures.next_token import WAVERING, _bars, draw_next_token, undecided
from gpt.sampling.filters import softmax
from tests.support.marks import slow
from tokenizers import CharTokenizer

TOKENIZER = CharTokenizer.train("abc $%\n^_xyz")
CONTROLS = {"temperature": 0.5, "top_k": 3, "top_p": 0.8}


@pytest.fixture
def model(float64):
    return GPT(GPTConfig(12, block_size=16, n_layer=1, n_head=2, n_embd=16), float64).eval()


def test_the_bar_of_tokens_that_were_dropped_is_exactly_0():
    q = np.zeros(50)
    q[:5] = np.random.default_rng(3).random(5)
    q /= q.sum() * (1 + 1e-15)  # the five add up to 1 but for rounding
    assert _bars(q, np.arange(10), 40)[-1] == 0


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


@pytest.mark.slow
def test_titles_stay_apart_and_bars_large_with_a_large_vocabulary(float64, tmp_path, monkeypatch):
    tokenizer = CharTokenizer.train("".join(map(chr, range(0x4E00, 0x4E00 + 4850))))
    model = GPT(GPTConfig(4850, block_size=8, n_layer=1, n_head=2, n_embd=16), float64).eval()
    seen = []

    @contextlib.contextmanager
    def picture(*arguments, **more):
        with figure.picture(*arguments, **more) as (fig, letters):
            yield fig, letters
            fig.draw_without_rendering()
            titles = [axes.title.get_window_extent() for axes in fig.axes]
            seen.extend([titles, fig.axes])

    monkeypatch.setattr(module, "picture", picture)
    draw_next_token(model, tokenizer, [1, 2, 3], tmp_path / "next.png", **CONTROLS)
    titles, panels = seen
    assert all(left.x1 + 5 < right.x0 for left, right in pairwise(titles))
    own, _, top_k, _ = panels
    assert own.patches[-1].get_width() > 0.9 > own.get_xlim()[1]  # the others' bar is cut off, and says so
    assert any("▸" in text.get_text() for text in own.texts)
    assert max(bar.get_width() for bar in top_k.patches) > 0.5 * top_k.get_xlim()[1]
