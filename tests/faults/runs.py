"""Rows about a run: its pictures, its signals, what it says, a text that moved, and folders that are closed."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from gpt.config.options import TrainConfig
from gpt.errors import RunError
from gpt.pictures.plotting import load_matplotlib
from gpt.runs.folder import choose
from gpt.training.progress import Reports, duration
from gpt.training.signals import StopRequest, ignored
from tests.faults.table import Place, fault, flags, needs_signals
from tests.support import ROOT
from tests.support.tiny_runs import TALE

NOTEBOOK = "module://a_package_that_is_not_there.backend_inline"


@fault(1, pytest.mark.slow)
def a_run_in_the_shell_of_a_notebook_draws_samples_and_is_judged(place: Place):
    place.write("text.txt")
    environment = place.environment(MPLBACKEND=NOTEBOOK)
    run = place.start("train", *flags(data="text.txt", out_dir="run", sample_tokens=5), env=environment)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0 and "a sample:" in out and "diagnosis:" in out and not err, err
    assert (place.folder / "run/loss.png").is_file()


@fault(1, pytest.mark.slow)
def pictures_need_nobodys_backend(place: Place):
    place.write("text.txt")
    run = place.trained("--data=text.txt")
    command = [sys.executable, "-m", "gpt.pictures", str(run)]
    environment = place.environment(MPLBACKEND="no such backend", PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, cwd=place.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "segmentation.png" in done.stdout, done.stderr


@fault(1, pytest.mark.slow)
def a_backend_that_is_there_stays_chosen(place: Place):
    program = "from gpt.pictures.plotting import load_matplotlib as load; load(); import matplotlib, os; "
    program += "print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=place.environment(MPLBACKEND="svg", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["svg", "svg"]


@fault(1)
def a_picture_that_cannot_be_drawn_costs_nothing_else(place: Place):
    def fail(runs, path):
        raise ValueError("no\nink")

    place.patch.setattr("gpt.pictures.draw_loss", fail)
    place.write("text.txt")
    code, out, err = place.train("--data=text.txt", out_dir="run", sample_tokens=5)
    assert code == 0 and "a sample:" in out and "diagnosis:" in out and "To sample it" in out
    assert "warning: loss.png could not be drawn: no ink" in err


@fault(1)
def what_is_imported_already_stays_as_it_is(place: Place):
    import matplotlib

    before = matplotlib.rcParams["backend"]
    place.patch.setenv("MPLBACKEND", NOTEBOOK)
    load_matplotlib()
    assert matplotlib.rcParams["backend"] == before and os.environ["MPLBACKEND"] == NOTEBOOK


@fault(8, needs_signals)
def a_closed_terminal_saves_the_step(place: Place):
    place.write("text.txt")
    ours, theirs = pty.openpty()
    words = flags(data="text.txt", out_dir="run", max_steps=100000, eval_interval=100000, log_interval=1)
    run = subprocess.Popen(
        [sys.executable, "-c", CLOSE_LATER, str(ROOT / "train.py"), *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    metrics = place.folder / "run/metrics.jsonl"
    wait_for(lambda: metrics.is_file() and len(metrics.read_bytes()) > 2000)
    os.close(ours)  # the terminal is gone, and its session gets SIGHUP
    assert run.wait(60) == 128 + signal.SIGHUP
    assert any((place.folder / "run/checkpoints").glob("step-*"))


CLOSE_LATER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the session's terminal, as a shell has it
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def wait_for(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


@fault(8, needs_signals)
def a_hangup_is_a_request_like_any_other(place: Place):
    place.patch.setattr("gpt.training.signals.drop_terminal", lambda: None)
    with StopRequest(silent=True) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal == signal.SIGHUP and stop.exit_code == 129


@fault(8, needs_signals)
def under_nohup_the_run_goes_on(place: Place):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(silent=True) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None and ignored(signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)  # after another signal too
            assert stop.signal == signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


@fault(8, needs_signals)
def a_hangup_in_a_run_saves_and_says_so_to_a_file(place: Place):
    from tests.support.tiny_training import at_step, send

    place.patch.setattr("gpt.training.signals.drop_terminal", lambda: None)
    place.write("text.txt")
    at_step(place.patch, 3, send(signal.SIGHUP))
    code, out, _ = place.train("--data=text.txt", out_dir="run", max_steps=50, eval_interval=50)
    assert code == 129 and "stopped after step 3, which is saved" in out
    assert place.train("--resume", out_dir="run", max_steps=50, eval_interval=50)[0] == 0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@fault(12)
def the_first_line_comes_within_a_minute(place: Place):
    clock = Clock()
    reports = Reports(0, 1000, tokens=2048, clock=clock)
    lines = []
    for step in range(1, 100):
        clock.now += 2.0
        lines += [(clock.now, reports.line(step))]
    said = [(now, line) for now, line in lines if line]
    assert said == [(20.0, "step 10 of 1000: 1,024 tokens/s, about 33 min left")]


@fault(12)
def then_one_comes_now_and_then(place: Place):
    clock = Clock()
    reports = Reports(500, 1000, tokens=100, clock=clock)
    times = []
    for step in range(501, 1000):
        clock.now += 10.0
        if reports.line(step):
            times.append(clock.now)
    assert times[:3] == [20.0, 320.0, 620.0]


@fault(12)
def an_evaluation_counts_as_a_line(place: Place):
    clock = Clock()
    reports = Reports(0, 1000, tokens=100, clock=clock)
    clock.now = 15.0
    reports.said()
    clock.now = 100.0
    assert not reports.line(50)


@fault(12, pytest.mark.slow)
def a_run_into_a_file_says_how_long_it_takes(place: Place):
    place.patch.setattr("gpt.training.progress.FIRST_SECONDS", 0.0)
    place.write("text.txt")
    _, out, _ = place.train("--data=text.txt", out_dir="run", eval_interval=8)
    line = next(line for line in out.splitlines() if line.startswith("step 1 of 8: "))
    assert "tokens/s, about " in line and line.endswith(" left") and out.count(" left\n") == 1


@fault(12)
def times_are_said_as_people_say_them(place: Place):
    assert [duration(s) for s in (0.4, 59, 89, 540, 5000, 12600, 250000)] == [
        "0 s",
        "59 s",
        "89 s",
        "9 min",
        "83 min",
        "3.5 h",
        "2.9 days",
    ]


def moved(place, change=lambda path: path.rename("moved.txt")):
    path = place.write("text.txt", TALE * 20)
    run = place.trained("--data=text.txt", max_steps=8)
    change(path)
    return run


def grow(path):
    path.write_text(path.read_text() + "more\n")


@fault(14, pytest.mark.slow)
def the_diagnosis_does_without_the_text(place: Place):
    moved(place)
    code, out, err = place.call("diagnose", "run", "--max_new_tokens=10")
    assert code == 0 and "diagnosis:" in out and "token pairs" not in out
    assert "judged without it" in err and "--data FILE says where it is" in err


@fault(14)
def the_diagnosis_takes_the_text_from_elsewhere(place: Place):
    moved(place)
    code, out, err = place.call("diagnose", "run", "--data=moved.txt", "--max_new_tokens=10")
    assert code == 0 and "token pairs" in out and "judged" not in err


@fault(14, pytest.mark.slow)
def a_text_that_grew_is_taken_where_it_is_named(place: Place):
    moved(place, grow)
    code, out, err = place.call("diagnose", "run", "--json", "--max_new_tokens=10")
    assert code == 0 and "of a table of token pairs" not in json.loads(out)["numbers"] and "SHA-256 differs" in err
    code, out, err = place.call("diagnose", "run", "--json", "--data=text.txt", "--max_new_tokens=10")
    assert code == 0 and "of a table of token pairs" in json.loads(out)["numbers"] and "judged with it" in err


@fault(14, pytest.mark.slow)
def pictures_that_need_no_text_are_drawn(place: Place):
    moved(place)
    code, out, err = place.call("pictures", "run")
    assert code == 0 and "learning-rate.png" in out and "attention" not in out and "--data FILE" in err
    code, out, _ = place.call("pictures", "run", "--prompt=the fox")
    assert code == 0 and "next-token.png" in out and "segmentation" not in out
    code, out, _ = place.call("pictures", "run", "--data=moved.txt")
    assert code == 0 and "segmentation.png" in out


@fault(14, pytest.mark.slow)
def an_evaluation_takes_the_validation_part_of_a_text_that_moved(place: Place):
    run = moved(place, lambda path: shutil.copy(path, "moved.txt"))
    before = place.call("evaluate", str(run), "--json")[1]
    (place.folder / "text.txt").unlink()
    code, _, err = place.call("evaluate", str(run))
    assert code == 2 and "--data FILE says where it is" in err
    code, out, _ = place.call("evaluate", str(run), "--json", "--data=moved.txt")
    assert code == 0 and json.loads(out)["loss"] == json.loads(before)["loss"]


@fault(15)
def a_closed_current_folder_names_out_dir(place: Place):
    place.write("out", "a file where the folder would be")
    with pytest.raises(RunError, match="--out_dir names another place"):
        choose(TrainConfig())


@fault(15, pytest.mark.slow)
def without_a_home_no_line_of_matplotlibs_is_seen(place: Place):
    place.write("text.txt")
    place.write("file", "not a folder")
    home = place.environment(
        HOME=str(place.folder / "file/none"), MPLCONFIGDIR=None, XDG_CACHE_HOME=None, XDG_CONFIG_HOME=None
    )
    run = place.start("train", *flags(data="text.txt", out_dir="run"), env=home)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0 and "atplotlib" not in err, err


@fault(15, pytest.mark.slow)
def a_cache_that_cannot_be_written_to_costs_nothing(place: Place):
    place.write("text.txt")
    place.write("file", "not a folder")
    place.patch.delenv("NANOGRAD_CACHE")
    place.patch.setenv("XDG_CACHE_HOME", str(place.folder / "file/cache"))
    run = place.trained("--data=text.txt")
    code, out, err = place.call("pictures", str(run))
    assert code == 0 and "segmentation.png" in out, err


@fault(12, pytest.mark.slow)
def a_narrow_terminal_has_room_for_the_bar_and_for_ctrl_c(place: Place):
    place.write("text.txt")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    words = flags(data="text.txt", out_dir="run")
    command = [sys.executable, str(ROOT / "train.py"), *words]
    environment = place.environment(COLUMNS=None)
    run = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=place.folder)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal says at its end
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert run.wait(60) == 0
    bars = [line for line in re.split(r"[\r\n]", shown.decode()) if "|" in line and " left" in line]
    assert bars and all(len(bar.rstrip()) <= 57 and len(bar.split("|")[1]) >= 8 for bar in bars), bars
    results = [line for line in shown.decode().splitlines() if "train loss" in line or line.startswith("    ")]
    assert all(len(line) < 60 for line in results if "step" in line)
