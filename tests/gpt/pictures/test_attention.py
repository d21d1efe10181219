import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.pictures.attention import MOST_TOKENS, attention_weights, draw_attention, draw_block
from tests.support.marks import slow
from tokenizers import CharTokenizer

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


LATER = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 2, "qk_norm": "rms_weight"}


@pytest.fixture(params=[{}, LATER], ids=["gpt2", "later"])
def model(request, float64):
    return GPT(GPTConfig(12, block_size=32, n_layer=2, n_head=4, n_embd=16, **request.param), float64).eval()


def test_rows_are_distributions_over_the_tokens_before(model):
    weights = attention_weights(model, IDS)
    assert len(weights) == 2
    for heads in weights:
        assert heads.shape == (4, 8, 8) and heads.dtype == np.float64
        np.testing.assert_allclose(heads.sum(-1), 1, rtol=1e-12)
        assert (heads[:, ~np.tri(8, dtype=bool)] == 0).all() and (heads[:, np.tri(8, dtype=bool)] > 0).all()


def test_they_are_the_weights_that_the_layers_used(model):
    weights = attention_weights(model, IDS)
    model(np.array([IDS]))
    for block, heads in zip(model.h, weights, strict=True):
        *_, z, blocks = block.attn.heads.recall()
        ((_, _, e, _, _),) = blocks
        np.testing.assert_allclose(heads, (e / z)[0], rtol=1e-10, atol=1e-300)


def test_ids_outside_the_vocabulary_are_refused(model):
    with pytest.raises(ValueError):
        attention_weights(model, [1, 99])


@pytest.mark.slow
def test_one_picture_for_each_block_of_the_last_tokens(model, tmp_path):
    tokenizer = CharTokenizer.train("abc $%\n^_xyz")
    assert tokenizer.vocab_size == 12
    paths = draw_attention(model, tokenizer, IDS * 8, tmp_path)
    assert [path.name for path in paths] == ["attention-block-0.png", "attention-block-1.png"]
    assert all(path.stat().st_size > 1000 for path in paths) and MOST_TOKENS < 64


@pytest.mark.parametrize(("heads", "tokens"), [(1, 1), (3, 2), slow(12, 5)])
def test_any_number_of_heads_and_tokens(tmp_path, heads, tokens):
    draw_block(np.tile(np.eye(tokens), (heads, 1, 1)), ["x"] * tokens, "Attention", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
