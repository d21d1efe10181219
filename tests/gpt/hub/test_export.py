"""A model exported and imported again is the same model; what has no class is refused; a damaged folder is refused."""

import json

import numpy as np
import pytest
from gpt.tokenizers import CharTokenizer
from safetensors.numpy import load_file, save_file

from gpt import GPT, GPTConfig, load
from gpt.errors import RunError, UsageError
from gpt.hub.export import export_folder
from gpt.hub.load import Loaded
from nanograd import Device

LETTERS = "abcdefghij"
SMALL = {"vocab_size": 10, "n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 16}
LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False, "n_kv_head": 2}
LONG = {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_context": 8}
SHAPES = {
    "article": ({}, "GPT2LMHeadModel"),
    "gpt2": ({"activation": "gelu", "qkv_bias": True, "tie_weights": True}, "GPT2LMHeadModel"),
    "no biases": ({"bias": False, "activation": "relu2", "n_inner": 24}, "GPT2LMHeadModel"),
    "llama": (LLAMA, "LlamaForCausalLM"),
    "llama tied": (LLAMA | LONG | {"tie_weights": True, "head_dim": 6}, "LlamaForCausalLM"),
    "llama biases": (LLAMA | {"bias": True, "qkv_bias": True}, "LlamaForCausalLM"),
    "llama some biases": (LLAMA | {"bias": True}, "LlamaForCausalLM"),
    "qwen2": (LLAMA | {"qkv_bias": True, "rope_scaling": "linear", "rope_factor": 2.0}, "Qwen2ForCausalLM"),
    "qwen3": (LLAMA | {"qk_norm": "rms_weight", "head_dim": 8}, "Qwen3ForCausalLM"),
    "qk-norm without weights": (LLAMA | {"qk_norm": "rms", "norm_eps": 1e-6}, "Qwen3ForCausalLM"),
}


def loaded(**fields) -> Loaded:
    model = GPT(GPTConfig(**SMALL | fields), Device("numpy", seed=3))
    rng = np.random.default_rng(0)
    for parameter in model.parameters():  # also those that start at zero or one
        parameter.value[...] += 0.3 * rng.standard_normal(parameter.value.shape)
    return Loaded(model.eval(), CharTokenizer(LETTERS), "a test")


@pytest.mark.parametrize("name", SHAPES)
def test_export_then_import_is_the_same_model(tmp_path, name):
    fields, architecture = SHAPES[name]
    ours = loaded(**fields)
    assert export_folder(ours, tmp_path / "out").architecture == architecture
    model, tokenizer = load(tmp_path / "out")
    mine, read = ours.model.state_dict(), model.state_dict()
    assert mine.keys() == read.keys() and all(mine[name].tobytes() == read[name].tobytes() for name in mine)
    ids = np.array([[1, 5, 2, 0, 9, 3]])
    assert np.array_equal(model(ids)[0], ours.model(ids)[0])
    assert tokenizer.encode("jab") == [9, 0, 1]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (LLAMA | {"activation": "relu2"}, "--activation relu2 with --position rope.*--activation swiglu"),
        ({"norm": "rmsnorm"}, "--norm rmsnorm with --position learned"),
        ({"activation": "swiglu"}, "--activation swiglu.*GPT2LMHeadModel"),
        ({"qk_norm": "rms"}, "--qk_norm rms"),
    ],
)
def test_what_has_no_class_is_refused_by_name(tmp_path, fields, problem):
    with pytest.raises(UsageError, match=problem):
        export_folder(loaded(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="holds something"):
        export_folder(loaded(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def edit(folder, **fields):
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


CONFIGS = {
    "architecture": ({"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM is not supported"),
    "yarn": ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "RoPE scaling 'yarn'"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
    "window": ({"sliding_window": 8, "use_sliding_window": True}, "sliding_window 8"),
    "layer types": ({"layer_types": ["sliding_attention"] * 2}, "sliding_attention"),
    "unknown switch": ({"use_novel_thing": True}, "use_novel_thing True is not supported"),
    "negative": ({"hidden_size": -16}, "n_embd|hidden_size"),
    "huge": ({"vocab_size": 10**15}, "vocab_size|shape|memory"),
    "text": ({"num_hidden_layers": "2"}, "num_hidden_layers must be a whole number"),
    "quantized": ({"quantization_config": {"bits": 4}}, "quantization_config"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_config_asks_for_and_we_do_not_do_is_refused_by_name(tmp_path, name):
    fields, problem = CONFIGS[name]
    export_folder(loaded(**LLAMA), tmp_path / "out")
    edit(tmp_path / "out", **fields)
    with pytest.raises(RunError, match=problem) as caught:
        load(tmp_path / "out")
    assert "\n" not in str(caught.value)


def poison(tensors):
    tensors["model.norm.weight"][3] = np.nan


TENSORS = {
    "missing": (lambda tensors: tensors.pop("model.norm.weight"), "has no tensor 'model.norm.weight'"),
    "too many": (lambda tensors: tensors.update(extra=np.ones(3, "f4")), "'extra'"),
    "shape": (lambda tensors: tensors.update({"model.norm.weight": np.ones(15, "f4")}), r"\(15,\).*\(16,\)"),
    "dtype": (lambda tensors: tensors.update({"model.norm.weight": np.ones(16, "i4")}), "dtype I32"),
    "NaN": (poison, "NaN or infinite"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, name):
    change, problem = TENSORS[name]
    export_folder(loaded(**LLAMA), tmp_path / "out")
    change_tensors(tmp_path / "out", change)
    with pytest.raises(RunError, match=problem) as caught:
        load(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_half_precision_is_widened_exactly(tmp_path):
    export_folder(loaded(**LLAMA), tmp_path / "out")
    change_tensors(tmp_path / "out", lambda tensors: tensors.update({n: t.astype("f2") for n, t in tensors.items()}))
    found = load_file(tmp_path / "out" / "model.safetensors")["model.embed_tokens.weight"]
    model, _ = load(tmp_path / "out")
    assert model.device.dtype == "float32" and np.array_equal(model.wte.weight.value, found.astype("f4"))


def shard(folder):
    """Split the folder's weights over two files."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {"a.safetensors": sorted(tensors)[:5], "b.safetensors": sorted(tensors)[5:]}
    for file, names in files.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    index = {name: file for file, names in files.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return index


def test_shards_are_one_model(tmp_path):
    ours = loaded(**LLAMA)
    export_folder(ours, tmp_path / "out")
    shard(tmp_path / "out")
    mine, read = ours.model.state_dict(), load(tmp_path / "out")[0].state_dict()
    assert all(mine[name].tobytes() == read[name].tobytes() for name in mine)


@pytest.mark.parametrize(
    ("file", "problem"), [("c.safetensors", "has no c.safetensors"), ("../b.safetensors", "no file in its folder")]
)
def test_an_index_names_files_of_its_folder(tmp_path, file, problem):
    export_folder(loaded(**LLAMA), tmp_path / "out")
    index = shard(tmp_path / "out")
    index["model.norm.weight"] = file
    (tmp_path / "out" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(RunError, match=problem):
        load(tmp_path / "out")


def test_a_truncated_shard_is_refused(tmp_path):
    export_folder(loaded(**LLAMA), tmp_path / "out")
    shard(tmp_path / "out")
    path = tmp_path / "out" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match=r"b\.safetensors is damaged"):
        load(tmp_path / "out")


def test_a_pickle_is_refused_with_what_converts_it(tmp_path):
    export_folder(loaded(), tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").rename(tmp_path / "out" / "pytorch_model.bin")
    with pytest.raises(RunError, match=r"pickle.*save_pretrained"):
        load(tmp_path / "out")


@pytest.mark.parametrize(("file", "problem"), [("config.json", "no config.json"), ("model.safetensors", "no weights")])
def test_a_missing_file_is_named(tmp_path, file, problem):
    export_folder(loaded(), tmp_path / "out")
    (tmp_path / "out" / file).unlink()
    with pytest.raises(RunError, match=problem):
        load(tmp_path / "out")


def test_older_files_say_rope_at_the_top_of_the_config(tmp_path):
    """Version 5 of transformers writes rope_parameters; before it there were rope_theta and rope_scaling."""
    ours = loaded(**LLAMA | LONG | {"rope_theta": 5e4})
    export_folder(ours, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    both = config.pop("rope_parameters")
    old = {name: value for name, value in both.items() if name not in ("rope_theta", "rope_type")}
    for kind in ("rope_type", "type"):
        text = config | {"rope_theta": 5e4, "rope_scaling": old | {kind: "llama3"}}
        (tmp_path / "out" / "config.json").write_text(json.dumps(text))
        assert load(tmp_path / "out")[0].config == ours.model.config
    new = {name: value for name, value in config.items() if name not in ("rope_theta", "rope_scaling")}
    (tmp_path / "out" / "config.json").write_text(json.dumps(new | {"rope_parameters": both}))
    assert load(tmp_path / "out")[0].config == ours.model.config
