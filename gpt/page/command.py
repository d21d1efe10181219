"""The command: one run's folder -> page.html in it, whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gpt.cli import command_line as cli
from gpt.cli.output import say
from gpt.config.flags import Checked, flag
from gpt.config.options import RunDirFlags, WhichFlags
from gpt.data.prepare import Data
from gpt.diagnose.diagnosis import Diagnosis, diagnose, sample_ids
from gpt.errors import UsageError
from gpt.files import write_text
from gpt.page.contents import gather
from gpt.page.document import build
from gpt.page.weights import may_write_unasked, pack, page_megabytes
from gpt.runs import folder as run_folder
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.history import History
from gpt.runs.load import load_model, own_data
from gpt.sampling.command import blas_threads
from gpt.tokenizers import Tokenizer

FILE = "page.html"
MOST_MB = 64  # of a page, unless --max_mb allows more
SAMPLE_TOKENS = 200  # of each sample that the diagnosis judges

EXAMPLES = """\
examples:
  python -m gpt.page                      a page of the newest run, in its folder
  python -m gpt.page out/tales --full     weights in float32, twice as large
"""


@dataclass(frozen=True, kw_only=True)
class PageFlags(Checked):
    full: bool = flag(False, "weights in float32; without it they are rounded to float16")
    max_mb: int = flag(MOST_MB, "largest page to write, in MB", at_least=1, aliases=("max_megabytes",))
    debug: bool = flag(False, "show the trace of an error")


@dataclass(frozen=True, kw_only=True)
class PageConfig(PageFlags, WhichFlags, RunDirFlags):
    """A page of one run: the model itself, alive in a browser, in one file."""


def write_page(
    run: History,
    checkpoint: Checkpoint,
    data: Data | None,
    found: Diagnosis | None,
    tokenizer: Tokenizer | None = None,
    dtype: str = "float16",
) -> Path:
    """Write page.html into a run's folder; its path.

    `data` and `found` are None where the run's text is not at hand; then the `tokenizer` must be given.
    """
    tokenizer = tokenizer or data.tokenizer
    contents = gather(run, checkpoint, tokenizer, data, found)
    tensors, weights = pack(checkpoint.model_state, dtype)
    path = run.run_dir / FILE
    write_text(path, build(contents | {"dtype": dtype, "tensors": tensors}, weights))
    return path


def demand_room(state: Mapping, dtype: str, max_mb: int) -> None:
    """Raises UsageError for a model whose page would be larger than `max_mb` MB."""
    size = page_megabytes(sum(value.size for value in state.values()), dtype)
    if size > max_mb:
        raise UsageError(f"the page would have {size:,.0f} MB: --max_mb {size + 1:.0f} writes it all the same")


def main(arguments: list[str]) -> int:
    config = cli.parse(PageConfig, arguments, "python -m gpt.page", EXAMPLES)
    run_dir = Path(config.run_dir) if config.run_dir is not None else run_folder.newest()
    run = History(run_dir)
    dtype = "float32" if config.full else "float16"
    model, tokenizer, checkpoint = load_model(run_dir, config.which, "numpy")
    weights = dict(sorted(model.state_dict(copy=False).items()))  # in the order of the file
    checkpoint = replace(checkpoint, model_state=weights)
    demand_room(checkpoint.model_state, dtype, config.max_mb)
    try:
        data = own_data(run_dir, tokenizer, checkpoint)
    except UsageError as error:
        say(f"{error}; so the page has no diagnosis")
        data = found = None
    else:
        # One thread is as fast for a small model, and much faster where others are at work on the same cores.
        with blas_threads(1 if may_write_unasked(model.n_parameters()) else None):
            samples = sample_ids(model, tokenizer, SAMPLE_TOKENS, seed=run.config.seed)
        found = diagnose(run, model.n_parameters(), tokenizer.vocab_size, data.train, data.val, samples)
    print(write_page(run, checkpoint, data, found, tokenizer, dtype))
    return 0
