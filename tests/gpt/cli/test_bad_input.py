"""Whatever is put in front of the two commands: one line that says what is wrong, and the right exit code."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.cli.command_line import run
from tests.support import ROOT
from tests.support.bad_input import FLAGS, SAMPLE, SHELL, TRAIN, WORLD
from tests.support.marks import slow
from tests.support.small_run import write_run
from tests.support.tiny_training import arguments

AS_ANYONE = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search"
MOUNT = "mkdir disk && mount -t tmpfs -o size=256k none disk"
MAIN = {program: runpy.run_path(str(ROOT / program))["main"] for program in (TRAIN, SAMPLE)}


def exit_code(program, words):
    with pytest.raises(SystemExit) as stop:
        run(MAIN[program], words)
    return stop.value.code


def check_line(err, part):
    assert "Traceback" not in err
    *before, line = err.splitlines() or [""]
    assert line.startswith("error: ") and part in line, err
    assert len(line) < 700 and not any(other.startswith("error") for other in before)


def test_the_table_is_long_enough():
    assert len(FLAGS) + len(WORLD) + len(SHELL) >= 150
    assert len({(program, words) for program, words, _ in FLAGS}) == len(FLAGS)
    assert len({name for name, *_ in WORLD}) == len(WORLD)


def some_slow(cases: list) -> list:
    """Of each two cases one is left out by `-m "not slow"`: there are many."""
    return [slow(*case) if i % 2 else case for i, case in enumerate(cases)]


@pytest.mark.parametrize(("program", "words", "part"), some_slow(FLAGS), ids=[ascii(f"{p} {w}") for p, w, _ in FLAGS])
def test_bad_flags(program, words, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_code(program, words.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    check_line(err, part)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("trained") / "run")
    (run / "config.toml").write_text('tokenizer = "char"\nblock_size = 16\nn_embd = 16\n')
    return run


@pytest.fixture
def place(workplace, trained):
    """A folder with good.txt and a trained run."""
    (workplace / "text.txt").rename("good.txt")
    shutil.copytree(trained, "run")
    return workplace


@pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links as POSIX has them")
@pytest.mark.parametrize(
    ("program", "words", "code", "part", "prepare"),
    some_slow([case[1:] for case in WORLD]),
    ids=[case[0] for case in WORLD],
)
def test_bad_files_and_folders(program, words, code, part, prepare, place, capsys):
    if prepare:
        prepare()
    before = sorted(path for path in place.rglob("*") if "cache" not in path.parts)
    assert exit_code(program, words.split()) == code
    check_line(capsys.readouterr().err, part)
    after = sorted(path for path in place.rglob("*") if "cache" not in path.parts and path.name != ".lock")
    assert after == before


def succeeds(command, cwd):
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True).returncode == 0


def shell(command, cwd, **environment):
    python = f"{sys.executable} {ROOT}"
    environment = {
        **os.environ,
        "TRAIN": f"{python}/{TRAIN}",
        "SAMPLE": f"{python}/{SAMPLE} --out_dir run",
        "PLAIN": AS_ANYONE if os.geteuid() == 0 else "",
        "MOUNT": MOUNT,
        "TINY": " ".join(arguments(max_steps=2, data="good.txt", out_dir="r")),
        **environment,
    }
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, env=environment, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize(("command", "code", "part"), [case[1:] for case in SHELL], ids=[case[0] for case in SHELL])
def test_in_a_shell(command, code, part, place):
    if "$PLAIN" in command and os.geteuid() == 0 and not succeeds(f"{AS_ANYONE} true", place):
        pytest.skip("the superuser can open every file, and setpriv is not there to change that")
    if "$MOUNT" in command and not succeeds(f"unshare -rm bash -c '{MOUNT}'; rmdir disk", place):
        pytest.skip("no disk can be mounted here")
    text = Path("good.txt").read_text(encoding="utf-8")
    Path("三国 1.txt").write_text("话说天下大势，分久必合，合久必分。\n" * 20, encoding="utf-8")
    Path("windows.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    Path("windows.toml").write_bytes(b"\xef\xbb\xbflr = 1e-3\r\nn_layer = 1\r\n")
    Path("nul.txt").write_bytes(text.replace(" ", "\0").encode())
    Path("line.txt").write_bytes(text.replace("\n", " ").encode() * 800)  # a megabyte
    done = shell(command, place)
    for path in (place / "run", place / "ro", place / "d"):
        if path.exists():
            path.chmod(0o700)  # so that it can be removed
    err = done.stderr.decode()
    assert done.returncode == code, err
    assert "Traceback" not in err
    if part:
        check_line(err, part)
