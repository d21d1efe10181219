"""The recipes that come along: each can be read, is what it says, and is found by its name from anywhere."""

import dataclasses

import pytest

from gpt.cli.command_line import parse_train
from gpt.commands import train
from gpt.config.options import TrainConfig
from gpt.config.recipes import about, find_recipe, list_recipes, recipes
from gpt.config.toml import dump_toml, read_toml
from gpt.errors import UsageError

NAMES = ["article", "gpt2-124m", "llama-small", "modern", "modern-tales", "nanogpt-baby", "nanogpt-cpu"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_these_come_along():
    assert list(recipes()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_configuration_and_says_what_it_is(name):
    config = parse_train(["--config", name])
    given = read_toml(TrainConfig, recipes()[name])
    assert all(getattr(config, flag) == value for flag, value in given.items())
    assert 20 < len(about(recipes()[name])) <= 120
    text = recipes()[name].read_text(encoding="utf-8")
    assert all(line.startswith("#") for line in text.split("\n")[:2])
    config.model_config(512)


def test_the_article_is_what_trains_by_default():
    mine, default = parse_train(["--config", "article"]), parse_train([])
    written_out = {"data": ("tales",), "min_lr": default.final_lr, "warmup_steps": default.warmup, "config": "article"}
    assert mine == dataclasses.replace(default, **written_out)


def test_flags_override_and_the_outcome_is_noted():
    config = parse_train(["--config", "modern", "--optimizer", "adamw", "--lr=0.002"])
    assert (config.optimizer, config.lr, config.position) == ("adamw", 0.002, "rope")
    text = dump_toml(config)
    assert 'optimizer = "adamw"' in text and 'position = "rope"' in text and "modern" not in text


def test_the_list_has_a_line_each(capsys):
    assert train(["--list_recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == list_recipes().splitlines() and [line.split()[0] for line in lines] == NAMES
    assert all(line.split(maxsplit=1)[1] == about(recipes()[line.split()[0]]) for line in lines)


def test_a_file_goes_before_a_recipe_of_its_name(tmp_path):
    (tmp_path / "modern").write_text("n_layer = 7\n", encoding="utf-8")
    assert parse_train(["--config", "modern"]).n_layer == 7
    assert find_recipe("./article") == find_recipe("article").parent.__class__("./article")


@pytest.mark.parametrize("name", ["modrn", "articel"])
def test_a_name_that_is_neither_is_told_with_what_there_is(name):
    with pytest.raises(
        UsageError, match=rf"^{name}: no file and no recipe; .*nanogpt-cpu.*did you mean (modern|article)\?"
    ):
        parse_train(["--config", name])


@pytest.mark.parametrize("name", ["no.toml", "./modern", "folder/modern"])
def test_a_path_means_a_file(name):
    with pytest.raises(UsageError, match="there is no such configuration file"):
        parse_train(["--config", name])
