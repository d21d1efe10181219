"""Chapter 10: what the runs of training_runs.py say."""

from book.measured import measured


def runs() -> dict:
    """Every measured run on characters, by name."""
    found = {"eight lines": measured("training_runs.eight_lines")} | measured("training_runs.sizes")
    return found | measured("training_runs.remedies")


def controls() -> dict:
    return measured("training_runs.controls")
