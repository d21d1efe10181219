"""Rows about command lines, nanoGPT's flags among them, and about what is installed."""

import sys

import pytest

from gpt.cli.command_line import parse_sample, parse_train
from gpt.errors import UsageError
from tests import test_lowest_versions as lowest
from tests.faults.table import Place, fault


def answer(parse, *words) -> str:
    with pytest.raises(UsageError) as error:
        parse(list(words))
    message = str(error.value)
    assert "\n" not in message and "there is no flag" not in message
    return message


@fault(11)
def the_command_of_its_readme_works(place: Place):
    words = (
        "--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 "
        "--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
    )
    config = parse_train(words.split())
    assert (config.backend, config.max_steps, config.lr_decay_steps) == ("numpy", 2000, 2000)


@fault(11)
def devices_are_backends(place: Place):
    assert parse_train(["--device=cuda"]).backend == parse_train(["--device", "cuda:0"]).backend == "cupy"
    assert parse_sample(["--device=cpu"]).backend == "numpy"
    assert "CUDA_VISIBLE_DEVICES=3" in answer(parse_train, "--device=cuda:3")
    assert "--backend numpy" in answer(parse_train, "--device=mps")


@fault(11)
def what_has_a_name_here_is_mapped(place: Place):
    assert parse_train(["--dataset=shakespeare_char"]).data == ("shakespeare_char",)
    assert parse_train(["--decay_lr=False"]).schedule == "constant" and parse_train(["--decay_lr=True"])
    assert parse_train(["--gradient_accumulation_steps=2", "--learning_rate=1e-4", "--warmup_iters=0"]).lr == 1e-4


@fault(11, pytest.mark.slow)
def what_asks_for_nothing_is_left_out(place: Place):
    for words in ("--compile=False", "--eval_only=False", "--always_save_checkpoint=True", "--wandb_log=False"):
        assert parse_train([words]) == parse_train([])
    assert parse_train(["--init_from=scratch"]) == parse_train([])
    assert parse_sample(["--init_from=resume", "--compile=False", "--dtype=float32"]) == parse_sample([])


@fault(11)
def the_others_are_answered_with_what_to_do(place: Place):
    assert "gpt.evaluate" in answer(parse_train, "--eval_only=True")
    assert "nothing to compile" in answer(parse_train, "--compile=True")
    assert "--keep" in answer(parse_train, "--always_save_checkpoint=False")
    assert "metrics.jsonl" in answer(parse_train, "--wandb_log=True")
    assert "saved in" in answer(parse_sample, "--dtype=bfloat16")
    assert "TOML" in answer(parse_train, "config/train_shakespeare_char.py")


@fault(11)
def a_start_may_name_a_file(place: Place):
    config = parse_sample(["--start=FILE:prompt.txt"])
    assert config.prompt_file == "prompt.txt" and config.prompt == ""
    assert parse_sample(["--start", "Once"]).prompt == "Once"


@fault(11)
def names_of_nobody_still_get_a_suggestion(place: Place):
    with pytest.raises(UsageError, match="there is no flag --n_layr; did you mean --n_layer"):
        parse_train(["--n_layr=3"])


@fault(11)
def both_commands_say_their_version(place: Place):
    for command in "train", "sample":
        code, out, _ = place.call(command, "--version")
        assert code == 0 and "nanograd 0" in out


@fault(16)
def every_requirement_names_a_version_that_can_be_tested(place: Place):
    lowest.test_every_requirement_names_its_lowest_version()


@fault(16)
def tyro_is_not_the_version_that_is_empty(place: Place):
    lowest.test_tyro_is_not_the_empty_wheel()


@fault(16)
def all_that_is_required_is_used(place: Place):
    lowest.test_nothing_is_imported_that_is_not_required()


@fault(16)
def a_package_that_is_missing_is_named_in_a_line(place: Place):
    place.patch.setitem(sys.modules, "tyro", None)
    code, _, err = place.call("train", "--max_steps=1")
    assert code == 1 and err.startswith("error: the package tyro is not installed") and err.count("\n") == 1
