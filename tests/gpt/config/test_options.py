"""The configurations: defaults, checks of one flag and of several, what a resume may change."""

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from gpt.config.flags import rule_of
from gpt.config.options import (
    GPTConfig,
    ModelFlags,
    SampleConfig,
    TrainConfig,
    changed_fixed_flags,
    refuse_changes,
)
from gpt.errors import UsageError

ARTICLE = {
    "tokenizer": "bpe",
    "backend": "auto",
    "dtype": "float32",
    "atomics": False,
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 128,
    "block_size": 64,
    "dropout": 0.0,
    "activation": "relu",
    "bias": True,
    "qkv_bias": False,
    "tie_weights": False,
    "norm": "layernorm",
    "norm_eps": 1e-5,
    "position": "learned",
    "n_kv_head": None,
    "head_dim": None,
    "qk_norm": "none",
    "n_inner": None,
    "zero_init": False,
    "batch_size": 32,
    "grad_accum": 1,
    "max_steps": 1000,
    "lr": 1e-3,
    "warmup": 100,
    "weight_decay": 0.01,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "eval_interval": 100,
}

BAD_TRAINING = [
    ({"n_layer": 0}, "--n_layer must be at least 1 and at most 1000, not 0"),
    ({"n_layer": True}, "--n_layer must be a whole number, at least 1 and at most 1000, not True"),
    ({"n_layer": 2.0}, "--n_layer must be a whole number, at least 1 and at most 1000, not 2.0"),
    ({"n_layer": None}, "--n_layer must be a whole number, at least 1 and at most 1000, not None"),
    ({"n_embd": 130}, "--n_embd must be a multiple of --n_head (4), not 130"),
    ({"dropout": 1.5}, "--dropout must be at least 0 and below 1, not 1.5"),
    ({"dropout": 1}, "--dropout must be at least 0 and below 1, not 1.0"),
    ({"dropout": -0.1}, "--dropout must be at least 0 and below 1, not -0.1"),
    ({"activation": "tanh"}, "--activation must be relu or gelu or relu2 or swiglu, not 'tanh'"),
    ({"norm": "batchnorm"}, "--norm must be layernorm or rmsnorm, not 'batchnorm'"),
    ({"norm_eps": 0}, "--norm_eps must be above 0, not 0.0"),
    ({"n_kv_head": 3}, "--n_kv_head must divide --n_head (4), and 3 does not"),
    ({"n_kv_head": 8}, "--n_kv_head must divide --n_head (4), and 8 does not"),
    ({"n_kv_head": 0}, "--n_kv_head must be at least 1 and at most 1048576, not 0"),
    ({"n_inner": 0}, "--n_inner must be at least 1 and at most 1048576, not 0"),
    ({"position": "rope", "n_embd": 12}, "rotates pairs of channels: --n_embd / --n_head must be even, not 3"),
    ({"position": "rope", "head_dim": 5}, "rotates pairs of channels: --head_dim must be even, not 5"),
    ({"rope_theta": 5e5}, "--rope_theta goes with --position rope: without it, it would change nothing"),
    ({"rope_scaling": "linear", "rope_factor": 2}, "--rope_scaling goes with --position rope"),
    ({"position": "rope", "rope_factor": 2}, "--rope_factor goes with --rope_scaling linear or llama3"),
    ({"position": "rope", "rope_scaling": "linear"}, "--rope_scaling linear needs a --rope_factor above 1"),
    (
        {"position": "rope", "rope_scaling": "linear", "rope_factor": 2, "rope_original_context": 64},
        "--rope_original_context goes with --rope_scaling llama3",
    ),
    (
        {"position": "rope", "rope_scaling": "llama3", "rope_factor": 8, "rope_low_freq_factor": 4},
        "--rope_low_freq_factor must be below --rope_high_freq_factor (4.0), not 4.0",
    ),
    ({"bias": 1}, "--bias must be true or false, not 1"),
    ({"lr": 0}, "--lr must be above 0, not 0.0"),
    ({"lr": float("nan")}, "--lr must be a finite number, above 0, not nan"),
    ({"lr": float("inf")}, "--lr must be a finite number, above 0, not inf"),
    ({"lr": 10**400}, "--lr must be a finite number, above 0, not inf"),
    ({"lr": "fast"}, "--lr must be a finite number, above 0, not 'fast'"),
    ({"min_lr": 1e-2}, "--min_lr must be at most --lr (0.001), not 0.01"),
    ({"warmup_steps": 60, "max_steps": 50}, "--warmup_steps must be at most --max_steps (50), not 60"),
    ({"beta1": 1}, "--beta1 must be at least 0 and below 1, not 1.0"),
    ({"weight_decay": -1}, "--weight_decay must be at least 0, not -1.0"),
    ({"max_steps": 2**31}, "--max_steps must be at most 2147483647, not 2147483648"),
    ({"seed": -1}, "--seed must be at least 0 and at most 9223372036854775807, not -1"),
    ({"data": [3]}, "--data must be texts, not (3,)"),
    ({"data": ["a", ""]}, "--data must name a file or folder, not ''"),
    ({"data": ["a\0b"]}, "--data must name a file or folder, not 'a\\x00b'"),
    ({"data": ["\udcff"]}, "--data must be valid UTF-8 text, not '\\udcff'"),
    ({"tokenizer": "char", "vocab_size": 99}, "--vocab_size goes with --tokenizer bpe"),
    ({"dtype": "bfloat16", "backend": "numpy"}, "--dtype bfloat16 needs --backend cupy"),
    ({"dtype": "tf32", "backend": "numpy"}, "--dtype tf32 needs --backend cupy"),
    ({"atomics": True, "backend": "numpy"}, "--atomics needs --backend cupy"),
    ({"dtype": "float16"}, "--dtype must be float32 or float64 or tf32 or bfloat16, not 'float16'"),
    ({"resume": True, "overwrite": True}, "give one of the two"),
    ({"keep": 0}, "--keep must be at least 1, not 0"),
    ({"checkpoint_interval": 0}, "--checkpoint_interval must be at least 1, not 0"),
]

BAD_SAMPLING = [
    ({"temperature": -0.1}, "--temperature must be at least 0, not -0.1"),
    ({"top_k": -1}, "--top_k must be at least 0, not -1"),
    ({"top_p": 0}, "--top_p must be above 0 and at most 1, not 0.0"),
    ({"top_p": 1.1}, "--top_p must be above 0 and at most 1, not 1.1"),
    ({"min_p": 1.1}, "--min_p must be at least 0 and at most 1, not 1.1"),
    ({"repetition_penalty": 0}, "--repetition_penalty must be at least 0.01 and at most 100, not 0.0"),
    ({"frequency_penalty": 2.1}, "--frequency_penalty must be at least -2 and at most 2, not 2.1"),
    ({"presence_penalty": -3}, "--presence_penalty must be at least -2 and at most 2, not -3.0"),
    ({"max_new_tokens": 0}, "--max_new_tokens must be at least 1, not 0"),
    ({"num_samples": 0}, "--num_samples must be at least 1"),
    ({"stop": ["a", ""]}, "--stop must be a text that is not empty, not ''"),
    ({"checkpoint": "last"}, "--checkpoint must be best, latest or the number of a step, not 'last'"),
    ({"checkpoint": "-1"}, "--checkpoint must be best, latest or the number of a step"),
    ({"prompt": "a", "prompt_file": "b"}, "--prompt and --prompt_file"),
    ({"logprobs": 3}, "--logprobs needs --json"),
    ({"interactive": True, "json": True}, "does not go with --json"),
    ({"interactive": True, "num_samples": 2}, "leave out --num_samples"),
]


def message_of(make) -> str:
    with pytest.raises(UsageError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults_are_the_articles_but_for_the_rate():
    config = TrainConfig()
    assert {name: getattr(config, name) for name in ARTICLE} == ARTICLE
    assert config.final_lr == pytest.approx(1e-4)


@pytest.mark.parametrize(("given", "message"), BAD_TRAINING)
def test_a_bad_value_for_training_says_what_is_allowed(given, message):
    assert message in message_of(lambda: TrainConfig(**given))


@pytest.mark.parametrize(("given", "message"), BAD_SAMPLING)
def test_a_bad_value_for_sampling_says_what_is_allowed(given, message):
    assert message in message_of(lambda: SampleConfig(**given))


def test_numbers_and_lists_take_the_type_of_their_flag(tmp_path):
    import numpy as np

    config = TrainConfig(lr=1, data=["a", tmp_path], n_layer=np.int64(3), out_dir=tmp_path)
    assert (config.lr, type(config.lr), config.data) == (1.0, float, ("a", str(tmp_path)))
    assert type(config.n_layer) is int and config.out_dir == str(tmp_path)


def test_warmup_never_outlasts_a_short_run_unless_asked_to():
    assert [TrainConfig(max_steps=n).warmup for n in (1, 50, 999, 5000)] == [0, 5, 99, 100]
    assert TrainConfig(max_steps=50, warmup_steps=50).warmup == 50


def test_gpt_config_takes_the_vocabulary_first_and_is_frozen():
    config = GPTConfig(65, n_layer=3)
    assert config == GPTConfig(vocab_size=65, n_layer=3) and hash(config) == hash(GPTConfig(65, n_layer=3))
    with pytest.raises(FrozenInstanceError):
        config.n_layer = 4
    assert "vocab_size must be at least 1" in message_of(lambda: GPTConfig(0))
    assert "multiple of n_head (3)" in message_of(lambda: GPTConfig(65, n_head=3))


def test_model_config_carries_every_flag_of_the_model():
    changed = {
        "n_layer": 3,
        "n_head": 2,
        "n_embd": 64,
        "block_size": 16,
        "dropout": 0.5,
        "activation": "gelu",
        "bias": False,
        "qkv_bias": True,
        "tie_weights": True,
        "norm": "rmsnorm",
        "norm_eps": 1e-6,
        "position": "rope",
        "rope_theta": 5e5,
        "rope_scaling": "llama3",
        "rope_factor": 32.0,
        "rope_low_freq_factor": 2.0,
        "rope_high_freq_factor": 8.0,
        "rope_original_context": 4096,
        "n_kv_head": 1,
        "head_dim": 64,
        "qk_norm": "rms_weight",
        "n_inner": 100,
        "zero_init": True,
    }
    assert set(changed) == {f.name for f in fields(ModelFlags)}
    assert asdict(TrainConfig(**changed).model_config(99)) == {**changed, "vocab_size": 99}


@pytest.mark.parametrize("config", [GPTConfig(65), TrainConfig(data=("a", "b")), SampleConfig(stop=("x",))])
def test_a_configuration_survives_json(config):
    assert type(config).from_dict(json.loads(json.dumps(asdict(config)))) == config


def test_from_dict_refuses_what_is_unknown_missing_or_of_another_type():
    whole = asdict(GPTConfig(65))
    without = {name: value for name, value in whole.items() if name != "n_head"}
    cases = [
        ({**whole, "n_heads": 4}, "state.json: unknown name 'n_heads'; did you mean n_head?"),
        (without, "state.json: n_head is missing"),
        ({**whole, "vocab_size": "65"}, "state.json: vocab_size must be a whole number, at least 1, not '65'"),
        ({**without, "n-head": 4, "n_head": 4}, "state.json: n_head is given twice"),
        ([1, 2], "state.json: a configuration must be a table of names and values, not [1, 2]"),
        ({1: 2}, "state.json: unknown name 1"),
    ]
    for given, message in cases:
        assert message_of(lambda given=given: GPTConfig.from_dict(given, "state.json: ")).startswith(message)


def test_a_model_saved_before_there_were_other_blocks_is_the_default():
    whole = asdict(GPTConfig(65, n_layer=3))
    first = ["n_layer", "n_head", "n_embd", "block_size", "dropout", "activation"]
    first += ["bias", "qkv_bias", "tie_weights", "vocab_size"]
    assert GPTConfig.from_dict({name: whole[name] for name in first}) == GPTConfig(65, n_layer=3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (4, 32, 512)),
        ({"n_kv_head": 2, "head_dim": 8, "n_inner": 300}, (2, 8, 300)),
        ({"activation": "swiglu"}, (4, 32, 344)),
        ({"activation": "swiglu", "n_embd": 576, "n_head": 9}, (9, 64, 1536)),
        ({"activation": "swiglu", "n_inner": 7}, (4, 32, 7)),
        ({"head_dim": 48, "n_embd": 130}, (4, 48, 520)),
    ],
)
def test_what_stands_in_for_sizes_that_are_not_given(given, expected):
    config = GPTConfig(65, **given)
    assert (config.kv_heads, config.head_channels, config.inner_channels) == expected


def test_a_resume_may_change_how_long_and_where_but_not_what():
    free = {f.name for f in fields(TrainConfig) if rule_of(f).resume}
    assert {"max_steps", "out_dir", "backend", "threads", "keep", "eval_interval", "log_interval"} <= free
    assert {"checkpoint_interval", "debug", "detect_anomaly", "atomics", "config", "resume", "overwrite"} <= free
    old = TrainConfig()
    assert changed_fixed_flags(old, replace(old, max_steps=2000, backend="numpy", threads=3, keep=5)) == []
    assert changed_fixed_flags(old, replace(old, n_layer=4, lr=2e-3, max_steps=5)) == ["n_layer", "lr"]
    refuse_changes(old, replace(old, max_steps=2000))
    said = message_of(lambda: refuse_changes(old, replace(old, seed=7)))
    assert said == "--seed cannot change on --resume: the run has 0, not 7; leave the flag out"


def test_everything_that_decides_the_weights_is_fixed_on_resume():
    decisive = {f.name for f in fields(ModelFlags)} | {
        "seed",
        "batch_size",
        "grad_accum",
        "dtype",
        "tokenizer",
        "split",
        "init_from",
    }
    decisive |= {"optimizer", "muon_lr", "muon_momentum", "muon_scale_rows", "schedule", "decay_share"}
    decisive |= {"lr", "min_lr", "warmup_steps", "weight_decay", "beta1", "beta2", "grad_clip", "vocab_size"}
    assert decisive == {f.name for f in fields(TrainConfig) if not rule_of(f).resume}


def test_which_checkpoint_to_sample():
    assert [SampleConfig(checkpoint=c).which for c in ("best", "latest", "1000")] == ["best", "latest", 1000]


@pytest.mark.parametrize("config_class", [TrainConfig, SampleConfig, GPTConfig])
def test_every_flag_has_one_short_line_of_help(config_class):
    for field in fields(config_class):
        text = rule_of(field).help
        assert 0 < len(text) <= 90 and "\n" not in text, field.name


@pytest.mark.parametrize("config_class", [TrainConfig, SampleConfig])
def test_no_two_flags_share_a_name(config_class):
    names = [name for f in fields(config_class) for name in (f.name, *rule_of(f).aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_embd": 10, "n_head": 3}, "n_embd must be a multiple of n_head (3), not 10"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, not 0"),
        ({"activation": "tanh"}, "activation must be relu or gelu or relu2 or swiglu, not 'tanh'"),
    ],
)
def test_a_model_made_by_a_call_names_parameters_not_flags(given, message):
    with pytest.raises(UsageError) as caught:
        GPTConfig(**{"vocab_size": 5} | given)
    assert str(caught.value) == message
