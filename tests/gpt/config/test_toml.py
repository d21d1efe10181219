"""TOML: what is written reads back equal, and what is wrong with a file is said in one line."""

import os
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.config.flags import choices_of, is_optional, kind_of, rule_of
from gpt.config.options import SampleConfig, TrainConfig
from gpt.config.toml import dump_toml, read_run_config, read_toml
from gpt.errors import RunError, UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def values_of(field):
    """Every value that the flag's rule allows, edges included."""
    rule, kind = rule_of(field), kind_of(field)
    if choices_of(field):
        values = st.sampled_from(choices_of(field))
    elif kind is bool:
        values = st.booleans()
    elif kind is int:
        values = st.integers(rule.at_least, rule.at_most or 2**31 - 1)
    elif kind is float:
        low, high = (rule.at_least if rule.above is None else rule.above), rule.at_most or rule.below
        edges = {"exclude_min": rule.above is not None, "exclude_max": rule.below is not None}
        values = st.floats(low, high, allow_nan=False, allow_infinity=False, **edges)
    else:
        text = TEXT.filter(lambda text: not rule.path or "\0" not in text).filter(rule.test or bool)
        values = st.lists(text, max_size=3).map(tuple) if kind is tuple else text
    return st.none() | values if is_optional(field) else values


@st.composite
def configurations(draw):
    chosen = {f.name: draw(values_of(f)) for f in fields(TrainConfig)}
    chosen |= {"n_embd": chosen["n_head"] * draw(st.integers(1, 2**20 // chosen["n_head"]))}
    chosen |= {"head_dim": None, "n_kv_head": draw(st.sampled_from([None, 1, chosen["n_head"]]))}
    if chosen["position"] == "learned" or chosen["n_embd"] // chosen["n_head"] % 2:
        chosen |= {"position": "learned", "rope_theta": 10000.0, "rope_scaling": "none"}
    if chosen["rope_scaling"] == "none" or chosen["rope_factor"] == 1:
        chosen |= {"rope_factor": 1.0, "rope_scaling": "none"}
    if chosen["rope_scaling"] != "llama3" or chosen["rope_low_freq_factor"] >= chosen["rope_high_freq_factor"]:
        chosen |= {"rope_low_freq_factor": 1.0, "rope_high_freq_factor": 4.0, "rope_original_context": 8192}
    chosen["min_lr"] = chosen["min_lr"] and min(chosen["min_lr"], chosen["lr"])
    chosen["warmup_steps"] = chosen["warmup_steps"] and min(chosen["warmup_steps"], chosen["max_steps"])
    chosen["overwrite"] = chosen["overwrite"] and not chosen["resume"]
    chosen["minutes"] = None if chosen["resume"] else chosen["minutes"]
    if chosen["tokenizer"] == "char":
        chosen["vocab_size"] = None
    if chosen["backend"] == "numpy":
        chosen["dtype"], chosen["atomics"] = "float64", False
    return TrainConfig(**chosen)


@given(configurations())
def test_what_is_written_reads_back_equal(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round trip.toml"
    path.write_bytes(dump_toml(config).encode())
    started = {f.name: f.default for f in fields(config) if not rule_of(f).saved}
    assert read_run_config(TrainConfig, path) == replace(config, **started)


def test_what_only_started_a_run_is_not_written():
    config = TrainConfig(data=('a "quoted"\\ 名.txt\x7f\n',), out_dir="o", config="c", resume=True, debug=True)
    text = dump_toml(config)
    assert 'data = ["a \\"quoted\\"\\\\ 名.txt\\u007f\\n"]\n' in text
    assert not any(f"\n{name} =" in text for name in ("out_dir", "config", "resume", "overwrite", "debug"))
    assert "\nlr = 0.001\n" in text and "\nbias = true\n" in text and "\nmin_lr" not in text


def test_aliases_hyphens_a_lone_text_a_bom_and_windows_line_ends_are_welcome(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b'\xef\xbb\xbfdata = "a.txt"\r\nlearning-rate = 1\r\nn-layer = 3\r\nmax_iters = 5\r\n')
    assert read_toml(TrainConfig, path) == {"data": ("a.txt",), "lr": 1.0, "n_layer": 3, "max_steps": 5}


def test_an_empty_file_sets_nothing(tmp_path):
    (tmp_path / "empty.toml").touch()
    assert read_toml(TrainConfig, tmp_path / "empty.toml") == {}


BAD_FILES = [
    (b"n_layr = 3", UsageError, "unknown name 'n_layr'; did you mean n_layer?"),
    (b"quux = 3", UsageError, "unknown name 'quux'"),
    (b'n_layer = "3"', UsageError, "n_layer must be a whole number, at least 1 and at most 1000, not '3'"),
    (b"n_layer = 3.0", UsageError, "n_layer must be a whole number"),
    (b"lr = true", UsageError, "lr must be a finite number, above 0, not True"),
    (b"lr = nan", UsageError, "lr must be a finite number, above 0, not nan"),
    (b"learning_rate = -1", UsageError, "learning_rate must be above 0, not -1.0"),
    (b"bias = 1", UsageError, "bias must be true or false, not 1"),
    (b"data = [1]", UsageError, "data must be texts, not (1,)"),
    (b"data = 1979-05-27", UsageError, "data must be texts"),
    (b"lr = 1\nbase_lr = 1", UsageError, "lr is given twice (also as base_lr)"),
    (b"[model]\nn_layer = 3", UsageError, "there are no tables here"),
    (b'config = "other.toml"', UsageError, "cannot name another"),
    (b'out_dir = "a\\u0000b"', UsageError, "out_dir must name a file or folder"),
    (b"n_layer = ", RunError, "not valid TOML"),
    (b"n_layer = 1\nn_layer = 2", RunError, "not valid TOML"),
    (b"a = " + b"[" * 20_000, RunError, "not valid TOML"),
    (b"a = " + b"9" * 5000, RunError, "not valid TOML"),
    (b"# \xff", RunError, "not UTF-8 text (byte 2)"),
    (b"\0" * 10, RunError, "not valid TOML"),
    (b"#" * (2**20 + 1), RunError, "larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("content", "kind", "message"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_file_is_named_with_its_problem(tmp_path, content, kind, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        read_toml(TrainConfig, path)
    assert type(caught.value) is kind and str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    with pytest.raises(RunError, match=r"bad\.toml"):  # the same in a run's own folder, whose config.toml was not typed
        read_run_config(TrainConfig, path)


def test_a_file_that_is_not_there_or_a_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no such configuration file"):
        read_toml(TrainConfig, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="is a folder"):
        read_toml(TrainConfig, tmp_path)


def test_flags_that_contradict_each_other_in_a_runs_own_file(tmp_path):
    (tmp_path / "config.toml").write_text("n_embd = 130")
    with pytest.raises(RunError, match=r"config.toml: --n_embd must be a multiple of --n_head \(4\), not 130"):
        read_run_config(TrainConfig, tmp_path / "config.toml")


def test_a_runs_own_file_that_is_empty_does_not_mean_the_defaults(tmp_path):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(RunError, match=r"config.toml is empty \(the file of a run"):
        read_run_config(TrainConfig, tmp_path / "config.toml")


@pytest.mark.skipif(os.name != "posix", reason="needs an endless device")
def test_an_endless_file_is_not_read_for_ever():
    with pytest.raises(RunError, match="larger than"):
        read_toml(SampleConfig, "/dev/zero")
