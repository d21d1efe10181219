"""samples.jsonl: what the model wrote at each evaluation, one JSON object a line, `{"step": 100, "texts": [...]}`.

A few short texts are enough to see a run go from noise to stories. The file is written and resumed as metrics.jsonl
is.
"""

import os

from gpt.errors import RunError
from gpt.runs.metrics import Metrics, read_metrics

FILE = "samples.jsonl"


class Samples(Metrics):
    """The samples file of a run, open for `log(step, texts=[...])`; otherwise as Metrics."""

    def __init__(self, run_dir: str | os.PathLike, resume_step: int | None = None):
        super().__init__(run_dir, resume_step, FILE)


def read_samples(run_dir: str | os.PathLike) -> list[dict]:
    """[{"step", "texts"}] in order; none for a run that kept none. Raises RunError for a damaged file."""
    lines = read_metrics(run_dir, FILE)
    for line in lines:
        texts = line.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RunError(f"{os.path.join(run_dir, FILE)} is damaged: step {line['step']} has no texts")
    return lines
