"""The command line: arguments become a configuration, and errors become one line and an exit code.

Exit codes, decided in `run` and nowhere else:

    0    done
    2    usage: a flag, a name or a value that cannot be (UsageError, TokenizerError, BackendUnavailable)
    1    the world: files, disk, memory, numbers (RunError, TokenizerFileError, OSError, MemoryError);
         or a mistake of ours
    130  Ctrl-C; 143 SIGTERM
    141  the reader of our output has closed the pipe (`| head`): what a shell reports after SIGPIPE

A path that was typed and is not there is usage; a file that is there and damaged is the world.
"""

import codecs
import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from gpt.cli.arguments import parse_given
from gpt.cli.mpi_job import end_job, fails_first, leave_job, one_voice
from gpt.cli.output import program, say
from gpt.config.flags import Checked, rule_of
from gpt.config.options import SampleConfig, TrainConfig, refuse_changes
from gpt.errors import RunError, UsageError
from nanograd.command import drop_output
from nanograd.missing import missing_package

Configuration = TypeVar("Configuration", bound=Checked)

TRAIN_EXAMPLES = """\
examples:
  python train.py                                    train on the stories that come with it
  python train.py --data book.txt --max_steps 3000   on your own text
  python train.py --data tales-zh --tokenizer char   on Chinese, character by character
  python train.py --backend cupy                     on a CUDA GPU
  python train.py --init_from smollm2 --data my.txt  start from weights that are there
  python train.py --resume                           go on with the run that was stopped
"""
SAMPLE_EXAMPLES = """\
examples:
  python sample.py                                   sample the newest run
  python sample.py --prompt "Once upon a time" --num_samples 3
  python sample.py --out_dir out/tales --temperature 0
  python sample.py --interactive                     ask for one prompt after another
"""


def parse_train(
    arguments: Sequence[str], initial: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: given
) -> TrainConfig:
    """The configuration of train.py; `initial` as for `train_config`.

    Raises what `train_config` does, and SystemExit after --help.
    """
    examples = TRAIN_EXAMPLES.replace("python train.py", program("train"))
    return train_config(parse_given(TrainConfig, arguments, program("train"), examples), initial)


def train_config(
    typed: dict[str, Any], initial: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: given
) -> TrainConfig:
    """The configuration for flags that were given, by name, wherever they were typed.

    A flag counts before the --config file or recipe, and that, on --resume, before what the run noted about itself.
    `initial` completes the flags of a new run that starts --init_from a model (gpt/hub/start.py).
    Raises UsageError, RunError for a file that cannot be read, OSError.
    """
    from gpt.cli.nanogpt import start_of_run
    from gpt.config.recipes import find_recipe
    from gpt.config.toml import read_run_config, read_toml
    from gpt.runs import folder as run_folder

    if typed.get("minutes") is not None and "max_steps" in typed:
        raise UsageError("--minutes finds out how many steps fit into the time: leave out it or --max_steps")
    recipe = read_toml(TrainConfig, find_recipe(typed["config"])) if typed.get("config") else {}
    given = start_of_run(recipe | typed)
    folder = None
    if given.get("resume"):
        folder = given.get("out_dir") or run_folder.to_resume(given.get("data", ()))
    if folder is None or not (Path(folder) / "config.toml").is_file():  # also where there is nothing to resume
        complete = initial(given) if given.get("init_from") and not given.get("list_recipes") else given
        with _saying_where_from(recipe, typed):
            return TrainConfig(**complete)
    earlier = read_run_config(TrainConfig, Path(folder) / "config.toml")
    if earlier.init_from and os.path.abspath(given.get("init_from", "")) == earlier.init_from:
        given["init_from"] = earlier.init_from
    saved = {f.name: getattr(earlier, f.name) for f in dataclasses.fields(earlier) if rule_of(f).saved}
    config = TrainConfig(**{**saved, **given, "out_dir": str(folder)})
    refuse_changes(earlier, config)
    return config


@contextlib.contextmanager
def _saying_where_from(recipe: dict[str, Any], typed: dict[str, Any]):
    """A message about a flag that was not typed says that the --config file or recipe has it."""
    try:
        yield
    except UsageError as error:
        named = [name for name in recipe if re.search(rf"--{name}\b", str(error)) and name not in typed]
        if not named:
            raise
        values = ", ".join(f"{name} = {recipe[name]}" for name in named)
        flags = ", ".join(f"--{name}" for name in named)
        raise UsageError(f"{error}; {values} is from {typed['config']}, {flags} changes it") from None


def parse_sample(arguments: Sequence[str]) -> SampleConfig:
    """The configuration of sample.py. Raises UsageError, and SystemExit after --help."""
    examples = SAMPLE_EXAMPLES.replace("python sample.py", program("sample"))
    return parse(SampleConfig, arguments, program("sample"), examples)


def parse(
    config_class: type[Configuration], arguments: Sequence[str], command: str, examples: str = ""
) -> Configuration:
    """The configuration that a command's arguments ask for. Raises UsageError, and SystemExit after --help.

    `config_class` is any frozen dataclass of flags (gpt/config/flags.py); `command` is its name in --help.
    """
    return config_class(**parse_given(config_class, arguments, command, examples))


def run(main: Callable[[list[str]], int | None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Call `main(arguments)` and exit with the code it returns (None is 0) or the one its error stands for.

    An error is one line on stderr; with --debug among the arguments its trace comes first.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    sys.stdout, sys.stderr = _printable(sys.stdout), _printable(sys.stderr)
    try:
        with one_voice():
            code = _exit_code_of(main, arguments)
            sys.stdout.flush()  # here, where a full disk or a closed pipe still has its own exit code
        leave_job()
    except BaseException as error:
        code, message = explain(error)
        if fails_first():
            _say(error if "--debug" in arguments else None, message)
        drop_output()
        end_job(code)
    sys.exit(code)


def _exit_code_of(main: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    try:
        return main(arguments) or 0
    except SystemExit as stop:  # tyro's, after --help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code an error stands for, and the line for the user; empty if there is nothing to say."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):  # also gpt.training.signals.Interrupted, which knows the signal
        return getattr(error, "exit_code", 130), text or "interrupted"
    if isinstance(error, BrokenPipeError):
        return 141, ""
    world = RunError, _class("gpt.tokenizers.base", "TokenizerFileError")
    usage = (
        UsageError,
        _class("gpt.tokenizers.base", "TokenizerError"),
        _class("nanograd.device.device", "BackendUnavailable"),
    )
    label = getattr(error, "label", "error: ")
    if isinstance(error, world):  # first: a TokenizerFileError is a TokenizerError too
        return 1, f"{label}{text}"
    if isinstance(error, usage):
        return 2, f"{label}{text}"
    gpu = sys.modules.get("nanograd.device.cuda")
    if gpu is not None and (line := gpu.describe_error(error)):
        return 1, f"error: {line}"
    if isinstance(error, MemoryError):
        detail = f" ({text})" if text else ""
        return 1, f"error: not enough memory{detail}; a smaller batch, context or model needs less"
    if isinstance(error, OSError):
        return 1, f"error: {_os_error(error)}"
    if line := missing_package(error):
        return 1, line
    return 1, (
        f"error: unexpected {type(error).__name__}: {text} (run again with --debug for the trace, and please report it)"
    )


def _class(module: str, name: str) -> type:
    """An error class of a module that may not have been imported; then nothing can have raised it."""
    return getattr(sys.modules.get(module), name, _Nothing)


class _Nothing(Exception):
    """Stands in for an error class that is not there; never raised."""


def _os_error(error: OSError) -> str:
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    files = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(files)}: {reason}" if files else reason


def _printable(stream: TextIO | None) -> TextIO:
    """A stream that takes every text: as UTF-8 in the C locale, elsewhere with escapes for what it lacks."""
    if stream is None:  # closed by the caller, as in `train.py >&-`
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        ascii_only = codecs.lookup(stream.encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")
    return stream


def _say(error: BaseException | None, message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr may be gone as well
        if error is not None:
            import traceback

            traceback.print_exception(error)
        if message:
            say(message)
