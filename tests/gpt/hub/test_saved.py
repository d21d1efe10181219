"""GPT.save and load: the same weights, bit for bit, and nothing that is damaged."""

import json

import numpy as np
import pytest
from gpt.tokenizers import CharTokenizer, TokenizerFileError

from gpt import GPT, GPTConfig, load
from gpt.errors import RunError, UsageError
from nanograd import Device

SMALL = {"vocab_size": 7, "n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 16}
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False, "n_kv_head": 1, "norm_eps": 1e-6}
SHAPES = {"article": {}, "tied": {"tie_weights": True, "qkv_bias": True}, "llama": LLAMA | {"qk_norm": "rms_weight"}}
IDS = np.array([[1, 5, 2, 0, 6, 3]])


def small(dtype="float32", **fields):
    return GPT(GPTConfig(**SMALL | fields), Device("numpy", seed=3, dtype=dtype))


@pytest.mark.parametrize("with_tokenizer", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_saved_is_read_back_bit_for_bit(tmp_path, shape, dtype, with_tokenizer):
    model = small(dtype, **SHAPES[shape])
    model.save(tmp_path / "new" / "folder", CharTokenizer("abcdefg") if with_tokenizer else None)
    again, tokenizer = load(tmp_path / "new" / "folder")
    assert again.config == model.config and again.device.dtype == dtype
    mine, read = model.state_dict(), again.state_dict()
    assert mine.keys() == read.keys()
    assert all(mine[name].tobytes() == read[name].tobytes() and mine[name].dtype == read[name].dtype for name in mine)
    assert np.array_equal(model.eval()(IDS)[0], again(IDS)[0])
    if with_tokenizer:
        assert tokenizer.encode("gab") == [6, 0, 1]
    else:
        with pytest.raises(TokenizerFileError, match="saved without"):
            tokenizer.encode("gab")


def test_saving_again_replaces_all_of_it(tmp_path):
    small().save(tmp_path, CharTokenizer("abcdefg"))
    small("float64", vocab_size=9).save(tmp_path)
    model, tokenizer = load(tmp_path)
    assert model.config.vocab_size == 9 and tokenizer.kind == "none"


def test_what_does_not_fit_is_not_saved(tmp_path):
    with pytest.raises(UsageError, match="2 tokens, the model 7"):
        small().save(tmp_path / "out", CharTokenizer("ab"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="holds a run"):
        small().save(tmp_path)


DAMAGE = {
    "no weights": ("model.safetensors", None, "no model.safetensors"),
    "cut off": ("model.safetensors", lambda data: data[:-5], "damaged"),
    "no JSON": ("model.json", lambda data: b"{", "damaged"),
    "negative": ("model.json", lambda data: data.replace(b'"n_embd": 8', b'"n_embd": -8'), "n_embd"),
    "unknown": ("model.json", lambda data: data.replace(b"n_embd", b"n_emdb"), "n_emdb"),
    "other size": ("model.json", lambda data: data.replace(b'"n_layer": 2', b'"n_layer": 3'), "does not fit"),
    "other text": ("tokenizer.json", lambda data: data.replace(b"abc", b"abd"), "damaged|tokenizer.json"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, name):
    file, change, problem = DAMAGE[name]
    small().save(tmp_path, CharTokenizer("abcdefg"))
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    if change is not None:
        assert change(data) != data
        (tmp_path / file).write_bytes(change(data))
    with pytest.raises((RunError, TokenizerFileError), match=problem) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_model_json_holds_the_config_and_a_later_flag_may_be_missing(tmp_path):
    small().save(tmp_path)
    fields = json.loads((tmp_path / "model.json").read_text())
    assert fields["n_embd"] == 8 and fields.pop("norm") == "layernorm"
    (tmp_path / "model.json").write_text(json.dumps(fields))
    assert load(tmp_path)[0].config.norm == "layernorm"
