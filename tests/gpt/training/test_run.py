"""A run as a whole: what it does when it is stopped, when the disk fails, when numbers are not finite."""

import errno
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpt.files
import train as train_py
from gpt.cli.command_line import run
from gpt.errors import RunError, UsageError
from gpt.runs.checkpoint import list_steps, load_checkpoint
from gpt.runs.lock import RunLock
from gpt.training import run as training
from gpt.training.signals import Interrupted
from gpt.training.step import Trainer
from nanograd.parallel.processes import may_fork
from tests.support.marks import slow
from tests.support.tiny_training import arguments, at_step, kill_a_worker, send, timeless, train, worker_pid

# ---- checkpoints ----


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({"keep": 10}, [5, 10, 12]),  # at evaluations, and the last step
        ({"keep": 10, "checkpoint_interval": 4}, [4, 8, 12]),
        ({"keep": 10, "checkpoint_interval": 7}, [7, 12]),
        ({"keep": 1, "checkpoint_interval": 2}, [10, 12]),  # 10 is the best that was evaluated
        ({"keep": 3, "checkpoint_interval": 1, "eval_interval": 20}, [10, 11, 12]),
    ],
)
def test_checkpoints_are_written_at_their_interval_and_so_many_kept(workplace, monkeypatch, flags, steps):
    losses = {0: 4.0, 5: 3.0, 10: 1.0, 12: 2.0}
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"train_loss": 1.0, "val_loss": losses[self.step]})
    assert train(**flags) == 0
    assert list_steps("run") == steps


def test_too_little_room_is_said_before_the_first_step(workplace, monkeypatch):
    monkeypatch.setattr(gpt.files.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match=r"has 0\.0 MB free and the checkpoints need 0\.\d MB"):
        train()
    assert not Path("run").exists()


def test_a_resumed_run_has_most_of_its_room_already(workplace, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "check_free_space", lambda folder, n_bytes: asked.append(n_bytes))
    with monkeypatch.context() as patch:
        at_step(patch, 11, send())
        assert train() == 143
    taken = sum(file.stat().st_size for file in Path("run/checkpoints").glob("*/*"))
    assert train(resume=True) == 0
    assert 0 < taken < asked[0] and asked[1] == asked[0] - taken


@pytest.mark.parametrize("number", [errno.ENOSPC, slow(errno.EIO), slow(errno.EACCES)])
@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "rename"])
def test_a_save_that_fails_ends_the_run_and_leaves_the_checkpoint_before_it(workplace, monkeypatch, call, number):
    assert train(out_dir="straight") == 0
    real = getattr(os, call)

    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    save = training.save_checkpoint

    def failing_save(folder, step, *args):
        if step == 10:
            monkeypatch.setattr(gpt.files.os, call, fail)
            try:
                return save(folder, step, *args)
            finally:
                monkeypatch.setattr(gpt.files.os, call, real)
        return save(folder, step, *args)

    monkeypatch.setattr(training, "save_checkpoint", failing_save)
    with pytest.raises(RunError) as caught:
        train()
    said = str(caught.value)
    assert os.strerror(number) in said and "step-00000010" in said and "\n" not in said
    assert said.endswith("; the checkpoint of step 5 is as it was (--resume goes on from there)")
    assert list_steps("run") == [5]
    monkeypatch.setattr(training, "save_checkpoint", save)
    assert train(resume=True) == 0
    assert timeless("run") == timeless("straight")
    assert not list(Path("run").rglob(".tmp-*"))


def test_the_first_save_that_fails_says_that_there_is_no_checkpoint(workplace, monkeypatch):
    def fail(*args):
        raise RunError("cannot write it")

    monkeypatch.setattr(training, "save_checkpoint", fail)
    with pytest.raises(RunError, match=r"^cannot write it; there is no checkpoint yet$"):
        train()


# ---- signals ----


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(workplace, monkeypatch, capfd, number, code):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    at_step(monkeypatch, 3, send(number))
    assert train(out_dir="my run") == code
    out, err = capfd.readouterr()
    assert out.endswith(
        "stopped after step 3, which is saved; to go on:\n    python train.py --resume --out_dir 'my run'\n"
    )
    assert "finishing this step and saving" in err
    assert list_steps("my run") == [3]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_the_losses_before_the_first_step_are_measured(workplace):
    assert train(max_steps=1, warmup_steps=0) == 0
    untrained, first = timeless()
    assert untrained["step"] == 0 and set(untrained) == {"step", "train_loss", "val_loss", "val_bits_per_byte"}
    assert abs(untrained["val_loss"] - first["loss"]) < 0.3 and first["step"] == 1
    assert list_steps("run") == [1], "what is not trained is not saved"


def test_a_signal_in_the_last_step(workplace, monkeypatch, capsys):
    at_step(monkeypatch, 12, send())
    assert train() == 143
    assert "stopped after the last step, which is saved; the run is in run" in capsys.readouterr().out
    assert list_steps("run")[-1] == 12


@pytest.mark.parametrize("during", ["evaluate", "state_dict"])
def test_a_signal_during_an_evaluation_or_a_save_lets_it_finish(workplace, monkeypatch, during):
    real = getattr(Trainer, during)

    def interrupted(self):
        if self.step == 5:
            send()(self)
        return real(self)

    monkeypatch.setattr(Trainer, during, interrupted)
    assert train() == 143
    assert list_steps("run") == [5] and load_checkpoint("run").val_loss is not None
    assert timeless()[-1]["val_loss"] == load_checkpoint("run").val_loss


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_step_leaves_nothing_behind(workplace, monkeypatch, number, code):
    monkeypatch.setattr(training, "prepare_for_run", lambda *args, **options: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as caught:
        train(out_dir="a/b/run")
    assert caught.value.exit_code == code
    assert not Path("a").exists()


# ---- processes ----


@pytest.mark.slow
@pytest.mark.skipif(not may_fork(), reason="this system does not fork")
@pytest.mark.parametrize("step", [1, 7])
def test_a_run_that_loses_a_worker_saves_says_so_in_a_line_and_can_go_on(workplace, monkeypatch, capsys, step):
    assert train(out_dir="straight", threads=2) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        at_step(patch, step, kill_a_worker)  # this step is computed already
        with pytest.raises(SystemExit) as stop:
            run(train_py.main, arguments(threads=2))
    message = "error: a process that shares the work has ended; was it killed, or short of memory?\n"
    assert stop.value.code == 1 and capsys.readouterr().err == message
    assert list_steps("run")[-1] == step
    assert train(resume=True, threads=2) == 0
    ours, theirs = load_checkpoint("run", 12), load_checkpoint("straight", 12)
    for name, value in theirs.model_state.items():
        assert value.tobytes() == ours.model_state[name].tobytes(), name
    assert timeless("run") == timeless("straight")


@pytest.mark.slow
@pytest.mark.skipif(not may_fork(), reason="this system does not fork")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_lets_the_step_finish(workplace, monkeypatch, number):
    """As Ctrl-C on a terminal sends it."""

    def send_to_all(trainer):
        for worker in trainer.parallel.workers:
            os.kill(worker_pid(worker), number)
        os.kill(os.getpid(), number)

    assert train(out_dir="straight", threads=3) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 3, send_to_all)
        assert train(threads=3) == 128 + number
    assert list_steps("run") == [3]
    assert train(resume=True, threads=3) == 0
    assert timeless() == timeless("straight")


# ---- folders ----


def test_a_folder_in_which_another_process_trains_is_refused(workplace):
    with RunLock("run"), pytest.raises(RunError, match=r"another process \(pid \d+\) is training in run"):
        train()
    assert Path("run/.lock").exists()


@pytest.mark.parametrize("out_dir", [None, "new", "new/er/est"])
def test_a_run_that_fails_before_it_writes_removes_its_folder(workplace, out_dir):
    with pytest.raises(UsageError, match="too short"):
        train(out_dir=out_dir, block_size=1000)
    assert sorted(path.name for path in workplace.iterdir()) == ["cache", "text.txt"]


def test_folders_that_were_there_stay(workplace):
    Path("there/inner").mkdir(parents=True)
    for out_dir in ("there/inner", "there/new"):
        with pytest.raises(UsageError, match="too short"):
            train(out_dir=out_dir, block_size=1000)
    assert [str(path) for path in Path("there").rglob("*") if path.name != ".lock"] == ["there/inner"]


def test_a_failed_overwrite_leaves_the_run_as_it_was(workplace):
    assert train() == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="too short"):
        train(overwrite=True, block_size=1000)
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    assert train(overwrite=True, max_steps=4) == 0
    assert list_steps("run") == [4]


# ---- numbers ----


def poison(trainer, name, value):
    """A gradient is no number any more."""
    dict(trainer.model.named_parameters())[name].grad[...] = value


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, slow(-math.inf)])
def test_a_gradient_that_is_no_number_never_reaches_a_parameter(workplace, monkeypatch, value, grad_clip):
    parameters = []

    def act(trainer):
        parameters.append(trainer.model.state_dict())
        poison(trainer, "ln_f.bias", value)

    with monkeypatch.context() as patch:
        at_step(patch, 8, act)
        with pytest.raises(RunError, match=r"^step 8: the norm of the gradient is (nan|inf); .*; likely causes: .*; "):
            train(grad_clip=grad_clip)
    assert list_steps("run") == [5]
    assert timeless()[-1]["step"] == 8 and timeless()[-1]["loss"] is None
    reached = parameters[0]  # those of step 7, when the run ended: nothing was changed since
    monkeypatch.setattr(Trainer, "train_step", before_step(8, Trainer.train_step, reached))
    assert train(grad_clip=grad_clip, resume=True) == 0
    assert train(grad_clip=grad_clip, out_dir="straight") == 0
    assert timeless("run") == timeless("straight")


def before_step(number, train_step, expected):
    def checking(trainer):
        if trainer.step == number - 1:
            found = trainer.model.state_dict()
            assert all(np.array_equal(found[name], expected[name]) for name in expected)
        return train_step(trainer)

    return checking


def test_a_rate_that_is_too_high_is_named_as_the_cause(workplace):
    with pytest.raises(RunError) as caught:
        train(lr=1e30, warmup_steps=0, grad_clip=0)
    said = str(caught.value)
    assert said.startswith("step 2: the loss is nan; it comes from h.0.attn.c_attn, forward: the Linear makes ")
    assert "; likely causes: a learning rate too high (it was 1e+30: try --lr 0.002), " in said
    assert "gradients that are not clipped (--grad_clip 0), no warmup (--warmup_steps 0)" in said
    assert "too large for float32" in said and said.endswith("there is no checkpoint yet")


def test_an_evaluation_that_is_no_number_is_traced_and_not_saved(workplace):
    with pytest.raises(
        RunError, match=r"^the evaluation after step 1: \S+, forward: the \w+ makes \d+ (NaN|infinities) "
    ):
        train(lr=1e18, eval_interval=1, warmup_steps=0)
    assert list_steps("run") == []


def test_detect_anomaly_looks_at_every_step_and_changes_none(workplace, monkeypatch):
    assert train(out_dir="straight") == 0
    assert train(detect_anomaly=True) == 0
    assert timeless() == timeless("straight")
    with pytest.raises(RunError, match=r"^step 2: h\.0\.attn\.c_attn, forward: the Linear makes"):
        train(out_dir="other", detect_anomaly=True, lr=1e30)


def test_a_spike_is_reported_in_the_log_and_on_the_terminal(workplace, monkeypatch, capsys):
    usual = Trainer.gradients
    monkeypatch.setattr(Trainer, "gradients", lambda self, x, y, step: usual(self, x, y, step) + 5 * (step == 64))
    assert train(max_steps=70, lr=1e-4, log_interval=20) == 0
    assert "step 65: the loss jumps to " in capsys.readouterr().out
    spiky = [line for line in timeless() if "spike" in line]
    assert [line["step"] for line in spiky] == [65]
    assert spiky[0]["loss"] == pytest.approx(spiky[0]["spike"] + 5, abs=0.5)


# ---- output ----


class Closed:
    """A stdout whose reader goes away after some lines."""

    encoding = "utf-8"

    def __init__(self, lines):
        self.left = lines

    def write(self, text):
        self.left -= text.count("\n")
        if self.left < 0:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return len(text)

    def flush(self):
        """Nothing waits."""


def test_when_nobody_reads_on_the_steps_that_were_done_are_saved(workplace, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Closed(4))  # the device, the text, the model, step 5
        with pytest.raises(BrokenPipeError):
            train()
    assert list_steps("run") == [5, 10]
    assert train(resume=True) == 0
    assert train(out_dir="straight") == 0
    assert timeless() == timeless("straight")
