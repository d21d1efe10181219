"""A checkpoint cannot be lost: every call to the disk fails once, the process dies at every point and by kill -9.

The long form: python -m pytest tests/gpt/runs/test_durability.py -m long
"""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt.errors import RunError
from gpt.runs.checkpoint import list_steps, load_checkpoint, load_latest_good, remove_dead, save_checkpoint
from gpt.runs.metrics import Metrics, read_metrics
from tests.support import ROOT
from tests.support.faulty_system import Crash, FaultySystem
from tests.support.marks import slow


def states(step, mark=0):
    rng = np.random.default_rng([step, mark])
    model = {"a": rng.normal(size=(7, 5)).astype(np.float32), "b": rng.normal(size=3)}
    return model, {"exp_avg.a": model["a"] + 1, "step": step}, {"mark": mark}


def save(run_dir, step, mark=0, **options):
    return save_checkpoint(run_dir, step, *states(step, mark), **options)


def whole(found):
    """Is every tensor of a loaded checkpoint the one that was saved?"""
    model, optimizer, _ = states(found.step, found.state["mark"])
    assert all(np.array_equal(found.model_state[name], value) for name, value in model.items())
    assert all(np.array_equal(found.optimizer_state[name], value) for name, value in optimizer.items())
    return True


# Each scene: the saves before, then the save under test as (step, mark, keep).
SCENES = {
    "first": ([], (1, 0, 2)),
    "second": ([(1, 0)], (2, 0, 2)),
    "prunes": ([(1, 0), (2, 0)], (3, 0, 1)),
    "again": ([(1, 0), (2, 0)], (2, 1, 2)),
    "the only one again": ([(1, 0)], (1, 1, 1)),
}


def play(run_dir, scene, system):
    before, (step, mark, keep) = SCENES[scene]
    with FaultySystem().installed():
        for old_step, old_mark in before:
            save(run_dir, old_step, old_mark, keep=9)
    with system.installed():
        save(run_dir, step, mark, keep=keep)


FAULTS = {
    "ENOSPC": (errno.ENOSPC, False),
    "EIO": (errno.EIO, False),
    "EACCES": (errno.EACCES, False),
    "short writes, then ENOSPC": (errno.ENOSPC, True),
    "death": (Crash, False),
    "short writes, then death": (Crash, True),
}


@pytest.mark.parametrize("fault", [name if name in ("ENOSPC", "death") else slow(name) for name in FAULTS])
@pytest.mark.parametrize("scene", [name if name in ("first", "prunes", "again") else slow(name) for name in SCENES])
def test_each_call_fails_once(tmp_path, scene, fault):
    """After a failure of any call, or death there, the newest good checkpoint is the old or the new one."""
    error, short = FAULTS[fault]
    before, new = SCENES[scene]
    system = FaultySystem(short=short)
    play(tmp_path / "counting", scene, system)
    n_calls = len(system.calls)
    assert n_calls >= 22
    outcomes = set()
    for number in range(n_calls):
        run_dir = tmp_path / str(number)
        with pytest.raises(Crash if error is Crash else RunError) as raised:
            play(run_dir, scene, FaultySystem(number, error, short))
        if error is not Crash:
            message = str(raised.value)
            assert os.strerror(error) in message and str(tmp_path) in message and "\n" not in message
        found = load_latest_good(run_dir, pytest.fail)  # and nothing in sight is damaged
        allowed = [*before[-1:], new[:2]]
        if found is None:
            assert not before
        else:
            assert whole(found) and (found.step, found.state["mark"]) in allowed
        outcomes.add(found and (found.step, found.state["mark"]))
        untouched = [step for step, _ in before if step != new[0]]
        if found is None or (found.step, found.state["mark"]) != new[:2]:  # not saved: so nothing is lost
            assert set(untouched) <= set(list_steps(run_dir))
        assert all(whole(load_checkpoint(run_dir, step)) for step in list_steps(run_dir))
        remove_dead(run_dir)  # and the run goes on
        with FaultySystem().installed():
            save(run_dir, *new[:2], keep=new[2])
        assert whole(load_checkpoint(run_dir)) and load_checkpoint(run_dir).state["mark"] == new[1]
        names = os.listdir(run_dir / "checkpoints")
        assert all(re.fullmatch(r"step-\d{8}", name) for name in names) and len(names) <= new[2]
    assert outcomes == {before[-1] if before else None, new[:2]}  # both kinds of points were reached


def test_after_a_full_disk_the_space_is_given_back(tmp_path):
    save(tmp_path, 1)
    with FaultySystem(12, errno.ENOSPC).installed(), pytest.raises(RunError, match=r"step-00000002/.*No space"):
        save(tmp_path, 2)
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001"]


def check_order(calls):
    """Of (function, path) in order: no rename before the bytes it publishes are on the disk."""
    dirty, created = set(), set()
    published = None
    for name, path in calls:
        if name == "create":
            created.add(path)
            dirty.add(str(Path(path).parent))
        elif name == "write":
            dirty.add(path)
        elif name == "fsync":
            dirty.discard(path)
            if published and path == str(Path(published).parent):
                return len(created)
        elif name == "rename" and path[1].endswith("step-00000002"):
            source, published = path
            assert not [one for one in dirty if one.startswith(source)], "renamed before fsync"
    pytest.fail("the folder was not fsynced after the rename")


def test_order_of_write_fsync_rename_fsync(tmp_path):
    save(tmp_path, 1)
    with FaultySystem().installed() as system:
        save(tmp_path, 2)
    assert check_order(system.calls) == 4
    for number, (name, path) in enumerate(system.calls):  # the check itself: it misses each fsync left out
        if name == "fsync" and ("step-" in str(path) or ".tmp-" in str(path) or path.endswith("checkpoints")):
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                check_order(system.calls[:number] + system.calls[number + 1 :])


SAVE_TWICE = """if True:
    import sys
    sys.path.insert(0, sys.argv[2])
    from tests.gpt.runs.test_durability import save
    save(sys.argv[1], 1)
    save(sys.argv[1], 2)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_order_as_the_kernel_saw_it(tmp_path):
    log, run_dir = tmp_path / "log", tmp_path / "run"
    watched = "trace=openat,open,write,fsync,rename,renameat,renameat2"
    command = ["strace", "-f", "-y", "-s", "0", "-e", watched, "-o", log]
    program = [sys.executable, "-c", SAVE_TWICE, run_dir, ROOT]
    done = subprocess.run([*command, *program], capture_output=True, text=True)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    calls = []
    for line in log.read_text().splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if not match or str(run_dir) not in line:
            continue
        name, arguments = match[1], match[2]
        paths = re.findall(r'[<"](/[^>"]*)[>"]', arguments)
        if name.startswith("rename"):
            calls.append(("rename", (paths[-2], paths[-1])))
        elif name == "openat" or name == "open":
            if "O_CREAT" in arguments:
                calls.append(("create", paths[-1]))
        elif name in ("write", "fsync"):
            calls.append((name, paths[-1]))
    after_first = next(n for n, (name, path) in enumerate(calls) if name == "rename") + 2
    assert check_order(calls[after_first:]) == 4
    assert [name for name, _ in calls[-4:]] == ["fsync", "fsync", "rename", "fsync"]


SAVER = """if True:
    import sys
    sys.path.insert(0, sys.argv[2])
    from tests.gpt.runs.test_durability import saver
    saver(sys.argv[1])
"""


def saver(run_dir):
    """Save for ever, as a training does that resumes: every third time the same step once more."""

    def refuse(line):
        raise SystemExit(f"damaged: {line}")

    from gpt.runs.lock import RunLock

    with RunLock(run_dir):
        remove_dead(run_dir)
        found = load_latest_good(run_dir, refuse)
        assert found is None or whole(found)
        step = found.step if found else 0
        with Metrics(run_dir, step) as metrics:
            print("ready", flush=True)
            while True:
                step += 1
                metrics.log(step=step, loss=1 / step)
                metrics.sync()
                for mark in range(2 if step % 3 == 0 else 1):
                    save(run_dir, step, mark, val_loss=float(step % 17), keep=1 + step % 2)
                    print(step, mark, flush=True)


def kill_again_and_again(run_dir, n_kills):
    """kill -9 at random moments; after each one, everything that was reported as saved is there and whole."""
    moments, reported = random.Random(n_kills), (0, 0)
    command = [sys.executable, "-c", SAVER, run_dir, ROOT]
    for _ in range(n_kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            first = process.stdout.readline()
            assert first == "ready\n", process.stderr.read()
            output = "".join(process.stdout.readline() for _ in range(moments.randrange(4)))  # so many saves
            try:
                process.wait(moments.uniform(0, 0.03))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            rest, errors = process.communicate()
            output += rest
        assert process.returncode == -signal.SIGKILL, errors
        lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
        if lines:
            reported = tuple(map(int, lines[-1].split()))
        found = load_latest_good(run_dir, pytest.fail)
        assert ((found and (found.step, found.state["mark"])) or (0, 0)) >= reported
        assert found is None or whole(found)
        saved = found.step if found else 0
        assert [line["step"] for line in read_metrics(run_dir)][:saved] == list(range(1, saved + 1))
    assert reported[0] > 0
    Metrics(run_dir, saved).close()
    assert read_metrics(run_dir) == [{"step": step, "loss": 1 / step} for step in range(1, saved + 1)]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kill_9(tmp_path):
    kill_again_and_again(tmp_path, 8)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kill_9_two_hundred_times(tmp_path):
    kill_again_and_again(tmp_path, 200)
