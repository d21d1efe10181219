"""Arguments in every spelling, and the one line that a wrong one gets."""

import re
import shlex
from dataclasses import dataclass, fields

import pytest

from gpt.cli.arguments import parse_given
from gpt.cli.command_line import SAMPLE_EXAMPLES, TRAIN_EXAMPLES, parse, parse_sample, parse_train
from gpt.config.flags import Checked, flag, rule_of
from gpt.config.options import SampleConfig, TrainConfig
from gpt.errors import UsageError


def given(*arguments, config_class=TrainConfig):
    return parse_given(config_class, arguments, "test")


SPELLINGS = [
    (["--n_layer", "3"], {"n_layer": 3}),
    (["--n-layer", "3"], {"n_layer": 3}),
    (["--n-layer=3"], {"n_layer": 3}),
    (["--max_iters", "5"], {"max_steps": 5}),
    (["--max-iters", "5"], {"max_steps": 5}),
    (["--learning_rate", "1e-3"], {"lr": 1e-3}),
    (["--base_lr", "1"], {"lr": 1.0}),
    (["--warmup_iters", "7"], {"warmup_steps": 7}),
    (["--warmup", "7"], {"warmup_steps": 7}),
    (["--gradient-accumulation-steps", "2"], {"grad_accum": 2}),
    (["--tokenizer_mode", "char"], {"tokenizer": "char"}),
    (["--lr", "1", "--learning_rate", "2"], {"lr": 2.0}),
    (["--bias"], {"bias": True}),
    (["--no_bias"], {"bias": False}),
    (["--no-bias"], {"bias": False}),
    (["--bias=False"], {"bias": False}),
    (["--bias", "false", "--qkv-bias"], {"bias": False, "qkv_bias": True}),
    (["--no_bias=false"], {"bias": True}),
    (["--data", "a.txt", "--data", "b.txt"], {"data": ("a.txt", "b.txt")}),
    (["--data", "a.txt", "b c.txt", "--seed", "1"], {"data": ("a.txt", "b c.txt"), "seed": 1}),
    (["--data=--odd.txt", "--data", "-"], {"data": ("--odd.txt", "-")}),
    (["--out_dir", "None"], {"out_dir": "None"}),
    (["--out-dir", "a=b"], {"out_dir": "a=b"}),
    (["--vocab_size", "512"], {"vocab_size": 512}),
    ([], {}),
]


@pytest.mark.parametrize(("arguments", "values"), SPELLINGS)
def test_every_spelling_sets_the_flag(arguments, values):
    assert given(*arguments) == values


SAMPLE_SPELLINGS = [
    (["--prompt", "-1 is less than 0"], {"prompt": "-1 is less than 0"}),
    (["--prompt", "- a dash"], {"prompt": "- a dash"}),
    (["--prompt=--help"], {"prompt": "--help"}),
    (["--prompt", ""], {"prompt": ""}),
    (["--prompt", '说：\n"你好" 100% {x} \\ \t'], {"prompt": '说：\n"你好" 100% {x} \\ \t'}),
    (["--start", "x", "--max_tokens", "5"], {"prompt": "x", "max_new_tokens": 5}),
    (["--stop", "\n", "--stop", "--", "--stop_strings", "x"], {"stop": ("\n", "--", "x")}),
    (["--logprobs", "--json"], {"logprobs": 5, "json": True}),
    (["--json", "--logprobs", "3"], {"logprobs": 3, "json": True}),
    (["--json", "--logprobs"], {"logprobs": 5, "json": True}),
    (["--frequency_penalty", "-1.5"], {"frequency_penalty": -1.5}),
]


@pytest.mark.parametrize(("arguments", "values"), SAMPLE_SPELLINGS)
def test_every_spelling_of_a_flag_for_sampling(arguments, values):
    assert given(*arguments, config_class=SampleConfig) == values


MISTAKES = [
    ("--n_layers 3", "there is no flag --n_layers; did you mean --n_layer?"),
    ("--n-layers=3", "there is no flag --n-layers; did you mean --n_layer?"),
    ("--learning_rat 1", "there is no flag --learning_rat; did you mean --learning_rate?"),
    ("--no_biass", "there is no flag --no_biass; did you mean --no_bias?"),
    ("--no_lr", "there is no flag --no_lr"),
    ("--clip 1", "there is no flag --clip; did you mean --grad_clip?"),
    ("--batch 1", "there is no flag --batch; did you mean --batch_size?"),
    ("--helpp", "there is no flag --helpp; did you mean --help?"),
    ("-n_layer 3", "there is no flag -n_layer; did you mean --n_layer?"),
    ("--N_LAYER 3", "there is no flag --N_LAYER; did you mean --n_layer?"),
    ("--quux", "there is no flag --quux; --help lists them all"),
    ("--tyro-print-completion bash", "there is no flag --tyro-print-completion"),
    ("--n_layer", "--n_layer needs a value: a whole number, at least 1 and at most 1000"),
    ("--n_layer --seed 3", "--n_layer needs a value"),
    ("--out_dir", "--out_dir needs a value: folder of the run"),
    ("--data --seed 3", "--data needs a value: text to learn"),
    ("--activation", "--activation needs a value: relu or gelu or relu2 or swiglu"),
    ("--n_layer two", "--n_layer must be a whole number, at least 1 and at most 1000, not 'two'"),
    ("--n_layer 1e1", "--n_layer must be a whole number, at least 1 and at most 1000, not '1e1'"),
    ("--n_layer=", "--n_layer must be a whole number, at least 1 and at most 1000, not ''"),
    ("--n_layer -3", "--n_layer must be at least 1 and at most 1000, not -3"),
    ("--n_layer " + "9" * 5000, "--n_layer must be a whole number"),
    ("--lr fast", "--lr must be a finite number, above 0, not 'fast'"),
    ("--lr nan", "--lr must be a finite number, above 0, not nan"),
    ("--lr -inf", "--lr must be a finite number, above 0, not -inf"),
    ("--lr 0,001", "--lr must be a finite number, above 0, not '0,001'"),
    ("--vocab_size None", "--vocab_size must be a whole number, at least 1, not 'None'"),
    ("--tokenizer word", "--tokenizer must be bpe or char, not 'word'"),
    ("--bias=maybe", "--bias must be true or false, not 'maybe'"),
    ("--bias maybe", "'maybe' stands alone"),
    ("book.txt", "'book.txt' stands alone"),
    ("--seed 1 2", "'2' stands alone"),
    ("--out_dir=", "--out_dir must name a file or folder, not ''"),
    ("--seed 1 --n_layer x --lr y", "--n_layer must be"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_mistake_gets_one_line(line, message, capfd):
    with pytest.raises(UsageError) as caught:
        given(*line.split())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert capfd.readouterr() == ("", "")  # tyro's boxes stay out of sight


@pytest.mark.parametrize(
    ("parse_command", "config_class", "examples"),
    [(parse_train, TrainConfig, TRAIN_EXAMPLES), (parse_sample, SampleConfig, SAMPLE_EXAMPLES)],
)
def test_help_starts_with_examples_and_shows_every_flag_with_its_default(
    parse_command, config_class, examples, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        parse_command(["--seed", "1", "-h"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(examples)
    text = " ".join(text.replace("│", " ").split())  # without tyro's boxes and line breaks
    for field in fields(config_class):
        assert f" --{field.name}" in text and rule_of(field).help in text, field.name
        if not rule_of(field).default_text:
            assert f"(default: {field.default})" in text, field.name
        for alias in rule_of(field).aliases:
            assert f"--{alias}" in text
    assert " data options " in text or " prompt options " in text


@pytest.mark.parametrize(("program", "parse_command"), [("train.py", parse_train), ("sample.py", parse_sample)])
def test_the_examples_are_command_lines_that_work(program, parse_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [re.split(r" {3,}", line.strip())[0] for line in (TRAIN_EXAMPLES + SAMPLE_EXAMPLES).splitlines()]
    mine = [words[2:] for words in map(shlex.split, commands) if words[1:2] == [program]]
    assert len(mine) > 3
    for arguments in mine:
        parse_command(arguments)


@dataclass(frozen=True, kw_only=True)
class Reading(Checked):
    run_dir: str = flag(..., "folder of the run", metavar="RUN_DIR", positional=True, path=True)
    more: tuple[str, ...] = flag((), "others to compare with", positional=True)
    top: int = flag(3, "how many", at_least=1)


def test_a_command_of_ones_own_with_plain_arguments():
    assert parse(Reading, ["out/a", "--top", "2"], "x") == Reading(run_dir="out/a", top=2)
    assert parse(Reading, ["a", "b", "--top=2", "c"], "x") == Reading(run_dir="a", more=("b", "c"), top=2)
    assert parse(Reading, ["--run-dir", "a", "b"], "x") == Reading(run_dir="a", more=("b",))
    with pytest.raises(UsageError, match=r"--run_dir \(or a plain argument RUN_DIR\) is missing: folder of the run"):
        parse(Reading, [], "x")


def test_flags_of_groups_of_one_name_stand_together():
    from gpt.hub.__main__ import ExportConfig

    config = parse(ExportConfig, ["a run", "there", "--format", "gguf", "--checkpoint", "latest", "--debug"], "export")
    assert (config.run, config.out, config.format, config.which, config.debug) == (
        "a run",
        "there",
        "gguf",
        "latest",
        True,
    )
