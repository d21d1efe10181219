"""The two commands: train.py and sample.py, which an installed package calls nanograd-train and nanograd-sample."""

from typing import Any

from gpt.cli.command_line import parse_sample, parse_train, run


def train(arguments: list[str]) -> int | None:
    config = parse_train(arguments, starting_from)
    if config.list_recipes:
        from gpt.config.recipes import list_recipes

        print(list_recipes())
        return 0
    from gpt.training import run as training  # imported late: --help and a mistyped flag answer at once

    return training.main(config)


def starting_from(given: dict[str, Any]) -> dict[str, Any]:
    """The flags of a run that starts --init_from a model, completed by what the model is."""
    from gpt.hub.start import completed  # late, as above

    return completed(given)


def sample(arguments: list[str]) -> int | None:
    config = parse_sample(arguments)
    from gpt.sampling import command  # imported late, as above

    return command.main(config)


def run_train() -> None:
    run(train)


def run_sample() -> None:
    run(sample)
