"""Commands as a user runs them: exit codes, one line for an error, layers of configuration, odd terminals."""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpt.cli.command_line import explain, parse_sample, parse_train, run
from gpt.config.options import TrainConfig
from gpt.config.toml import dump_toml
from gpt.errors import RunError, UsageError
from nanograd import __version__
from tests.support import ROOT
from tests.support.marks import slow


def command(program, *arguments, cwd, **options):
    """Run a command as a user in another folder does."""
    line = [sys.executable, str(ROOT / program), *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, encoding="utf-8", timeout=120, **options)


def exit_of(main, arguments=()):
    with pytest.raises(SystemExit) as stop:
        run(main, arguments)
    return stop.value.code


def raising(error):
    def main(arguments):
        raise error

    return main


def test_run_exits_with_what_main_returns():
    assert exit_of(lambda arguments: None) == 0
    assert exit_of(lambda arguments: 143) == 143
    assert exit_of(lambda arguments: len(arguments), ["a", "b"]) == 2


ERRORS = [
    (UsageError("no\n  such thing"), 2, "error: no such thing\n"),
    (RunError("the disk is full"), 1, "error: the disk is full\n"),
    (FileNotFoundError(2, "No such file or directory", "a b.txt"), 1, "error: a b.txt: No such file or directory\n"),
    (PermissionError(13, "Permission denied", b"\xff"), 1, "error: \\udcff: Permission denied\n"),
    (OSError("odd"), 1, "error: odd\n"),
    (OSError(), 1, "error: OSError\n"),
    (MemoryError(), 1, "error: not enough memory; a smaller batch, context or model needs less\n"),
    (MemoryError("8 GiB"), 1, "error: not enough memory (8 GiB); a smaller batch, context or model needs less\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (BrokenPipeError(), 141, ""),
    (ModuleNotFoundError("No module", name="tqdm.auto"), 1, "error: the package tqdm.auto is not installed; "),
    (ModuleNotFoundError("No module", name="gpt.nothing"), 1, "error: unexpected ModuleNotFoundError: No module ("),
    (TypeError("a\nb"), 1, "error: unexpected TypeError: a b (run again with --debug for the trace, and please"),
]


@pytest.mark.parametrize(("error", "code", "line"), ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_is_one_line_and_an_exit_code(error, code, line, capsys):
    assert exit_of(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == (1 if line else 0)


def test_errors_of_the_floors_below():
    from nanograd.device.device import BackendUnavailable
    from tokenizers.base import TokenizerError, TokenizerFileError

    assert explain(BackendUnavailable("no GPU")) == (2, "error: no GPU")
    assert explain(TokenizerError("unknown letter")) == (2, "error: unknown letter")
    assert explain(TokenizerFileError("damaged")) == (1, "error: damaged")


def test_debug_shows_the_trace_and_then_the_line(capsys):
    assert exit_of(raising(UsageError("no")), ["--debug"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "in main" in err and err.endswith("error: no\n")


@pytest.mark.parametrize("program", ["train.py", "sample.py"])
def test_help_comes_without_the_heavy_imports(program):
    heavy = {"numpy", "matplotlib", "sentencepiece", "pooch", "tqdm", "safetensors"}
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{program!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / program)!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n"
        f"    print(stop.code, *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.stderr.strip() == "0"  # the exit code, and no heavy module behind it
    assert done.stdout.startswith("examples:\n  python ")


COMMAND_LINES = [
    ("train.py", ["--n_layers", "3"], 2, "error: there is no flag --n_layers; did you mean --n_layer?\n"),
    ("train.py", ["--n_embd", "130"], 2, "error: --n_embd must be a multiple of --n_head (4), not 130\n"),
    ("train.py", ["--config", "nowhere.toml"], 2, "error: nowhere.toml: there is no such configuration file\n"),
    ("train.py", ["--config", "坏.toml"], 1, "error: 坏.toml: not valid TOML: "),
    ("sample.py", ["--temperature", "-1"], 2, "error: --temperature must be at least 0, not -1.0\n"),
    ("sample.py", ["--中文"], 2, "error: there is no flag --中文; --help lists them all\n"),
]


@pytest.mark.parametrize(("program", "arguments", "code", "line"), COMMAND_LINES)
@pytest.mark.parametrize("locale", ["C", slow("C.UTF-8")])
def test_a_bad_command_line_ends_in_one_line(program, arguments, code, line, locale, tmp_path):
    (tmp_path / "坏.toml").write_text("n_layer =", encoding="utf-8")
    environment = {**os.environ, "LANG": locale, "LC_ALL": locale}
    done = command(program, *arguments, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["坏.toml"]


PRINT_CHINESE = "from gpt.cli.command_line import run; run(lambda arguments: print('三国'))"
PRINT_FOR_EVER = (
    "from gpt.cli.command_line import run; run(lambda arguments: [print('x' * 1000) for _ in range(10**5)] and None)"
)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "三国\n".encode()), ("latin-1", b"\\u4e09\\u56fd\n"), ("gbk", "三国\n".encode("gbk"))],
)
def test_text_of_any_script_prints_on_any_terminal(encoding, expected):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT_CHINESE], cwd=ROOT, capture_output=True, env=environment)
    assert (done.returncode, done.stdout.replace(b"\r", b""), done.stderr) == (0, expected, b"")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices as POSIX has them")
@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ('"$PYTHON" -c "$CODE" | head -1 >/dev/null; exit ${PIPESTATUS[0]}', 141, ""),
        ('"$PYTHON" -c "$CODE" >/dev/full', 1, "error: No space left on device\n"),
        ('"$PYTHON" -c "$CODE" >&-', 0, ""),
        ('"$PYTHON" -c "$CODE" >/dev/full 2>&-', 1, ""),
    ],
)
def test_output_that_nobody_takes_is_no_stack_trace(shell, code, said):
    environment = {**os.environ, "PYTHON": sys.executable, "CODE": PRINT_FOR_EVER}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120, env=environment
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_flags_count_before_the_config_file(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text('n_layer = 5\nlr = 1e-2\ndata = ["a.txt", "b.txt"]\nn_embd = 96\n')
    config = parse_train(["--config", str(file), "--lr", "0.5", "--data", "c.txt", "--n_head", "3"])
    assert config == TrainConfig(
        config=str(file), n_layer=5, lr=0.5, data=("c.txt",), n_embd=96, n_head=3
    )  # 96 is no multiple of the default 4 heads' 128: the whole is checked once it is whole


def test_config_toml_alone_asks_for_the_same_run_in_a_new_folder(tmp_path):
    config = TrainConfig(data=("文.txt",), n_layer=3, out_dir="out/x", resume=True, min_lr=0)
    file = tmp_path / "config.toml"
    file.write_text(dump_toml(config), encoding="utf-8")
    again = parse_train(["--config", str(file)])
    assert again == replace(config, config=str(file), out_dir=None, resume=False)


def saved_run(folder, config):
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(dump_toml(config), encoding="utf-8")
    return folder


def test_resume_takes_up_the_runs_own_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    earlier = TrainConfig(data=("book.txt",), n_layer=3, lr=1e-2, max_steps=50)
    saved_run(tmp_path / "out" / "book", earlier)
    expected = replace(earlier, resume=True, out_dir=str(Path("out/book")))
    assert parse_train(["--resume"]) == expected
    assert parse_train(["--resume", "--data", "book.txt"]) == expected
    assert parse_train(["--resume", "--out_dir", "out/book", "--max_steps", "60"]) == replace(expected, max_steps=60)
    assert parse_train(["--resume", "--n_layer", "3"]) == expected
    with pytest.raises(UsageError, match="--n_layer cannot change on --resume: the run has 3, not 4"):
        parse_train(["--resume", "--n_layer", "4"])
    (tmp_path / "more.toml").write_text("base_lr = 1")
    with pytest.raises(UsageError, match=r"--lr cannot change on --resume: the run has 0\.01, not 1\.0"):
        parse_train(["--resume", "--config", "more.toml"])


def test_resume_of_nothing_simply_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_train(["--resume", "--seed", "3"]) == TrainConfig(resume=True, seed=3)
    assert parse_train(["--resume", "--out_dir", "new"]) == TrainConfig(resume=True, out_dir="new")
    saved_run(tmp_path / "out" / "book", TrainConfig(n_layer=9))
    assert parse_train(["--resume", "--data", "other.txt"]).n_layer == 2


def test_resume_of_a_run_with_a_damaged_config_names_the_file(tmp_path):
    folder = saved_run(tmp_path / "run", TrainConfig())
    (folder / "config.toml").write_bytes(b"n_layer = \xff")
    with pytest.raises(RunError, match=r"config\.toml: not UTF-8"):
        parse_train(["--resume", "--out_dir", str(folder)])
    (folder / "config.toml").write_text("n_layer = 0")
    with pytest.raises(RunError, match=r"config\.toml: n_layer must be at least 1"):
        parse_train(["--resume", "--out_dir", str(folder)])


def test_sample_reads_its_flags():
    config = parse_sample(["--prompt", "Once", "--checkpoint", "300", "--stop", "a", "b", "--top-k", "5"])
    assert (config.prompt, config.which, config.stop, config.top_k) == ("Once", 300, ("a", "b"), 5)


MODULES = "gpt", "gpt.pictures", "gpt.diagnose", "gpt.evaluate", "gpt.page", "gpt.hub", "gpt.gradcheck", "exercises"


@pytest.mark.filterwarnings("ignore:.* found in sys.modules after import of package:RuntimeWarning")  # other tests did
@pytest.mark.parametrize("name", [*MODULES, "nanograd.gradcheck", "nanograd.doctor"])
def test_every_command_says_its_version(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(name, run_name="__main__")
    assert (stop.value.code or 0) == 0 and capsys.readouterr().out.endswith(f" of nanograd {__version__}\n")
