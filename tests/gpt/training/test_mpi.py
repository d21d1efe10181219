"""Training by several ranks, under a real mpiexec: the same numbers, one writer, and no way to hang."""

import contextlib
import os
import random
import signal

import numpy as np
import pytest

from gpt.runs.checkpoint import load_checkpoint
from gpt.runs.metrics import read_metrics
from tests.support import ROOT
from tests.support.marks import long, slow
from tests.support.mpi_job import Job, needs_mpi, run_job, wait_until

pytestmark = needs_mpi

TRAIN = ROOT / "train.py"
SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 12, "grad_accum": 2, "dropout": 0.2}
RUN = {"lr": 2e-3, "warmup_steps": 5, "min_lr": 2e-3, "eval_iters": 3, "log_interval": 1, "sample_tokens": 0}
BASIC = SHAPE | RUN | {"tokenizer": "char", "data": "text.txt", "eval_interval": 50, "dtype": "float64"}
ONCE = "the run is in run: "  # the last words of a run that came to its end


def flags(values):
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def folder(tmp_path):
    write_text(tmp_path)
    return tmp_path


def write_text(folder):
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefgh", k=letters.randint(1, 6))) for _ in range(60)]
    (folder / "text.txt").write_text(" ".join(letters.choices(words, k=1500)), encoding="utf-8")


def train(n, cwd, **changes):
    """Train in cwd/run by `n` ranks (0: no mpiexec); returns the finished process."""
    values = BASIC | changes
    switches = [f"--{name}" for name in ("resume", "overwrite") if values.pop(name, False)]
    done = run_job(n, TRAIN, "--out_dir", "run", *switches, *flags(values), cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(ONCE) == 1 and done.stderr == "", done.stderr
    return done


def losses_of(cwd, names=("loss", "grad_norm", "val_loss", "train_loss")):
    """{name: its values, one for each step that has one}, after a check that no step is missing or there twice."""
    lines = read_metrics(cwd / "run")
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return {name: np.array([line[name] for line in lines if name in line]) for name in names}


def assert_same(found, expected, tolerance):
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, err_msg=name)


# The same numbers


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process without mpiexec gets, for each dtype, over 200 steps."""
    expected = {}

    def losses(dtype):
        if dtype not in expected:
            cwd = tmp_path_factory.mktemp(dtype)
            write_text(cwd)
            train(0, cwd, max_steps=200, dtype=dtype)
            expected[dtype] = losses_of(cwd)
        return expected[dtype]

    return losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "dtype", "tolerance"),
    [
        (2, "float64", 1e-12),
        (3, "float32", 1e-5),
        (6, "float64", 1e-12),
        long(1, "float64", 1e-12),
        long(3, "float64", 1e-12),
        long(1, "float32", 1e-5),
        long(2, "float32", 1e-5),
    ],
)
def test_ranks_get_the_losses_of_one_process(folder, alone, n, dtype, tolerance):
    train(n, folder, max_steps=200, dtype=dtype)
    found = losses_of(folder)
    assert len(found["loss"]) == 200 and found["loss"][-1] < 0.9 * found["loss"][0]
    assert_same(found, alone(dtype), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "muon", "muon_scale_rows": True}], ids=["adamw", "muon"])
def test_ranks_train_later_blocks_as_one_process_does(folder, tmp_path_factory, optimizer):
    later = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "n_kv_head": 1, "qk_norm": "rms_weight"}
    later |= optimizer
    alone = tmp_path_factory.mktemp("alone")
    write_text(alone)
    for n, where in ((0, alone), (2, folder)):
        train(n, where, max_steps=20, **later)
    assert_same(losses_of(folder), losses_of(alone), 1e-12)


@pytest.mark.slow
def test_accumulated_batches_on_ranks_equal_a_large_batch(folder, alone):
    train(2, folder, max_steps=30, batch_size=24, grad_accum=1)
    expected = {name: values[:30] for name, values in alone("float64").items()}
    assert_same(losses_of(folder, ("loss", "grad_norm")), expected, 1e-12)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(folder, alone):
    train(2, folder, max_steps=15)
    train(3, folder, max_steps=30, resume=True)
    train(0, folder, max_steps=45, resume=True)
    train(2, folder, max_steps=60, resume=True)
    expected = {name: values[:60] for name, values in alone("float64").items()}
    assert_same(losses_of(folder, ("loss", "grad_norm")), expected, 1e-12)


# One voice, one writer

ONLY_RANK_0 = """
import gpt.data.batches, gpt.data.prepare, gpt.runs.folder, gpt.training.run
from nanograd.parallel.world import world

def noted(name, function):
    def noting(*arguments, **options):
        with open("notes", "a") as file:
            file.write(f"{world().rank} {name}\\n")
        return function(*arguments, **options)
    return noting

for module, name in (
    (gpt.training.run, "write_text"), (gpt.training.run, "save_checkpoint"), (gpt.runs.folder, "RunLock"),
    (gpt.training.run, "Metrics"), (gpt.data.prepare.CharTokenizer, "train"), (gpt.data.prepare, "_keep"),
    (gpt.training.run, "load_latest_good"), (gpt.data.batches, "write_tokens"),
):
    setattr(module, name, noted(name, getattr(module, name)))

from gpt.cli.command_line import parse_train, run
run(lambda arguments: gpt.training.run.main(parse_train(arguments)))
"""


@pytest.mark.slow
def test_the_first_rank_alone_prepares_writes_and_prints(folder):
    (folder / "noting.py").write_text(ONLY_RANK_0, encoding="utf-8")
    done = run_job(3, "noting.py", "--out_dir", "run", *flags(BASIC | {"max_steps": 9, "threads": 1}), cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == len(set(lines)) and any("3 ranks of 1 thread;" in line for line in lines)
    notes = [line.split() for line in (folder / "notes").read_text().splitlines()]
    assert {rank for rank, _ in notes} == {"0"}
    names = [name for _, name in notes]
    assert set(names) == {"write_text", "save_checkpoint", "RunLock", "Metrics", "train", "_keep", "write_tokens"}
    assert names.count("train") == names.count("write_tokens") == names.count("RunLock") == 1


@pytest.mark.parametrize(
    ("n", "changes", "message"),
    [
        slow(3, {"batch_size": 32}, "--batch_size 32 cannot be split evenly among 3 ranks: --batch_size 30 or 33 can"),
        slow(2, {"batch_size": 1}, "--batch_size 1 cannot be split evenly among 2 ranks: --batch_size 2 can, or"),
        (2, {"n_embd": 15}, "--n_embd must be a multiple of --n_head (2), not 15"),
        slow(2, {"data": "nothing.txt"}, "nothing.txt"),
    ],
)
def test_what_is_wrong_everywhere_is_said_once(folder, n, changes, message):
    done = run_job(n, TRAIN, *flags(BASIC | {"max_steps": 9} | changes), cwd=folder)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("Abort("))  # MPI's own last word
    assert line.startswith("error: ") and message in line


# No way to hang, and nothing lost

FAILS_AT = """
import sys
import gpt.training.run
from gpt.cli.command_line import parse_train, run
from gpt.errors import RunError
from gpt.training.step import Trainer
from nanograd.parallel.world import world

failing = [int(rank) for rank in sys.argv.pop(1).split(",")]
whole = Trainer.train_step

def train_step(self):
    if self.step == 4 and world().rank in failing:
        raise RunError(f"rank {world().rank} has lost its disk")
    return whole(self)

Trainer.train_step = train_step
run(lambda arguments: gpt.training.run.main(parse_train(arguments)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "speaker"), [("0", 0), ("2", 2), ("1,2", 1)])
def test_a_rank_that_fails_ends_the_job(folder, failing, speaker):
    (folder / "failing.py").write_text(FAILS_AT, encoding="utf-8")
    done = run_job(3, "failing.py", failing, "--out_dir", "run", *flags(BASIC | {"max_steps": 9}), cwd=folder)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == [f"error: rank {speaker} has lost its disk"], done.stderr


@contextlib.contextmanager
def long_job(n, cwd):
    """Within it, a job with checkpoints every 5 steps that would run for minutes, once it has saved two of them."""
    changes = {"max_steps": 100_000, "checkpoint_interval": 5, "eval_interval": 100_000}
    with Job(n, TRAIN, "--out_dir", "run", *flags(BASIC | changes), cwd=cwd) as job:
        wait_until(lambda: (cwd / "run/checkpoints/step-00000010").exists() or job.process.poll() is not None)
        assert job.process.poll() is None, job.wait().stderr
        yield job


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_job_and_the_last_checkpoint_is_good(folder, alone, rank):
    with long_job(2, folder) as job:
        os.kill(job.ranks()[rank], signal.SIGKILL)
        assert job.wait(10).returncode != 0
    saved = load_checkpoint(folder / "run", "latest").step
    assert saved % 5 == 0
    train(3, folder, max_steps=saved + 5, resume=True)
    found = losses_of(folder, ("loss",))
    steps = min(len(found["loss"]), 200)
    assert_same({"loss": found["loss"][:steps]}, {"loss": alone("float64")["loss"][:steps]}, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "number", "code"),
    [(1, signal.SIGINT, 130), (0, signal.SIGTERM, 143), ("mpiexec", signal.SIGTERM, 143), ("all", signal.SIGINT, 130)],
)
def test_a_signal_to_any_rank_stops_all_after_the_same_step(folder, target, number, code):
    with long_job(2, folder) as job:
        if target == "all":
            os.killpg(job.process.pid, number)  # as Ctrl-C on a terminal does
        else:
            os.kill(job.process.pid if target == "mpiexec" else job.ranks()[target], number)
        done = job.wait()
    assert done.returncode == code, done.stderr
    saved = load_checkpoint(folder / "run", "latest").step
    assert f"stopped after step {saved}, which is saved" in done.stdout
    assert read_metrics(folder / "run")[-1]["step"] == saved


@pytest.mark.slow
def test_the_ranks_of_a_machine_share_its_cores(folder):
    from nanograd.device.cores import available_cores

    (folder / "cores.py").write_text(
        "from pathlib import Path\nfrom nanograd.parallel.world import world\n"
        "Path(f'cores-{world().rank}').write_text(str(world().cores()))\n",
        encoding="utf-8",
    )
    for n in (2, available_cores() + 1):
        done = run_job(n, "cores.py", cwd=folder)
        assert done.returncode == 0, done.stderr
        cores = [int((folder / f"cores-{rank}").read_text()) for rank in range(n)]
        assert cores == [max(1, available_cores() // n)] * n


NOT_FINITE_AT = """
import sys
import numpy as np
import gpt.training.run
from gpt.cli.command_line import parse_train, run
from gpt.training.step import Trainer
from nanograd.parallel.world import world

batch = Trainer.batch

def poisoned(self, step):
    x, y = batch(self, step)
    if step == 4 and (world().rank == 1 or self.ranks.size == 1):
        self.model.h[0].mlp.c_fc.bias.value[3] = np.inf
    return x, y

Trainer.batch = poisoned
run(lambda arguments: gpt.training.run.main(parse_train(arguments)))
"""


@pytest.mark.slow
def test_numbers_that_are_not_finite_in_one_rank_are_told_by_the_first(folder):
    (folder / "poisoning.py").write_text(NOT_FINITE_AT, encoding="utf-8")
    done = run_job(2, "poisoning.py", "--out_dir", "run", *flags(BASIC | {"max_steps": 9}), cwd=folder)
    assert done.returncode == 1
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert error.startswith("error: step 5: ") and "it comes from h.0" in error, error
