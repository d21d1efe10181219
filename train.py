"""Train a GPT: `python train.py`; what it can be told: `python train.py --help`."""

from gpt.cli.command_line import parse_train, run


def main(arguments: list[str]) -> int | None:
    config = parse_train(arguments)
    from gpt.training import run as training  # imported late: --help and a mistyped flag answer at once

    return training.main(config)


if __name__ == "__main__":
    run(main)
