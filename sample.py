"""Sample a trained GPT: `python sample.py`; what it can be told: `python sample.py --help`."""

from gpt.cli.command_line import parse_sample, run


def main(arguments: list[str]) -> int | None:
    config = parse_sample(arguments)
    from gpt.sampling import command  # imported late: --help and a mistyped flag answer at once

    return command.main(config)


if __name__ == "__main__":
    run(main)
