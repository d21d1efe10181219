"""The two commands: train.py and sample.py, which an installed package calls nanograd-train and nanograd-sample."""

from gpt.cli.command_line import parse_sample, parse_train, run


def train(arguments: list[str]) -> int | None:
    config = parse_train(arguments)
    if config.list_recipes:
        from gpt.config.recipes import list_recipes

        print(list_recipes())
        return 0
    from gpt.training import run as training  # imported late: --help and a mistyped flag answer at once

    return training.main(config)


def sample(arguments: list[str]) -> int | None:
    config = parse_sample(arguments)
    from gpt.sampling import command  # imported late, as above

    return command.main(config)


def run_train() -> None:
    run(train)


def run_sample() -> None:
    run(sample)
