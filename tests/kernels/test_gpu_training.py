"""Whole runs on a GPU (or through tools/cuda_on_cpu): they follow NumPy's, wait for nothing, save, resume, sample."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gpt import GPT, GPTConfig
from gpt.cli.command_line import parse_sample, parse_train
from gpt.sampling import command as sampling
from gpt.training import run as training
from gpt.training.anomaly import NotFinite
from gpt.training.step import Trainer
from nanograd import Device
from nanograd.device.device import KERNELS
from nanograd.optim.adamw import clip_grad_norm
from tests.support import ROOT
from tests.support.marks import long
from tools.cuda_on_cpu.counts import is_fake

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "dropout": 0.1, "activation": "gelu"}


def train_on(device, steps, **flags):
    config = parse_train([f"--{name}={value}" for name, value in ({**SHAPE, "batch_size": 4, **flags}).items()])
    tokens = np.random.default_rng(0).integers(0, 13, 2000).astype(np.uint16)
    model = GPT(GPTConfig(vocab_size=13, **SHAPE), device)
    trainer = Trainer(model, config, tokens[:1800], tokens[1800:], 1)
    return trainer, [trainer.train_step() for _ in range(steps)]


def test_a_step_waits_for_nothing(gpu_xp, waits):
    trainer, _ = train_on(Device("cupy"), 1, grad_accum=2)
    waits()
    results = [trainer.train_step() for _ in range(3)]
    assert not waits()
    assert float(results[-1].loss) > 0 and float(results[-1].grad_norm) > 0
    assert waits()


def test_clip_grad_norm_waits_for_nothing(gpu_xp, waits):
    trainer, _ = train_on(Device("cupy"), 1)
    waits()
    norm = clip_grad_norm(trainer.model, 1e-3)
    assert not waits()
    assert float(norm) > 1e-3
    assert abs(float(clip_grad_norm(trainer.model, 1.0)) - 1e-3) < 1e-6


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_change_no_parameter(gpu_xp, grad_clip, bad):
    trainer, _ = train_on(Device("cupy"), 1, grad_clip=grad_clip)
    trainer.model.ln_f.weight.value[0] = bad
    before, moments = trainer.model.state_dict(), [m.get() for m in trainer.optimizer.exp_avg]
    for _ in range(2):
        trainer.train_step()
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    for moment, kept in zip(trainer.optimizer.exp_avg, moments, strict=True):
        np.testing.assert_array_equal(moment.get(), kept)
    with pytest.raises(NotFinite):
        trainer.check()


# The commands


TEXT = "the cat sat on the mat; the dog sat on the log. " * 60
SIZE = "--data=text.txt --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --dropout=0.1"
PACE = "--lr=1e-3 --min_lr=1e-3 --warmup_steps=0 --eval_interval=4 --eval_iters=1 --log_interval=2 --max_steps=8"
RUN = f"--tokenizer=char {SIZE} {PACE} --sample_tokens=3 --out_dir=run --threads=1".split()


@pytest.fixture
def text(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpt.pictures.draw_loss", lambda runs, path: None)


def train(*flags) -> dict:
    """{step: loss} of the run after train.py has been called with these flags."""
    assert training.main(parse_train([*flags])) == 0
    with open("run/metrics.jsonl", encoding="utf-8") as lines:
        return {row["step"]: row["loss"] for row in map(json.loads, lines) if "loss" in row}


def resume(*flags) -> dict:
    return train("--resume", "--out_dir=run", *flags)


@pytest.mark.slow
def test_train_save_resume_and_sample(gpu_xp, text, capsys):
    train(*RUN, "--backend=cupy", "--max_steps=4")
    resumed = resume("--backend=cupy", "--max_steps=8")
    assert "CuPy" in capsys.readouterr().out
    sample = ["--out_dir=run", "--backend=cupy", "--prompt=the ", "--max_new_tokens=12", "--temperature=0"]
    assert not sampling.main(parse_sample(sample))
    assert len(capsys.readouterr().out) >= 12
    assert train(*RUN, "--backend=cupy", "--overwrite")[8] == resumed[8]


def test_the_flag_for_atomics_reaches_the_kernel(gpu_xp, text, monkeypatch):
    asked = []
    monkeypatch.setitem(KERNELS, "scatter_add_rows", lambda grad, ids, dy, atomics: asked.append(atomics))
    train(*RUN, "--backend=cupy", "--max_steps=1")
    resume("--backend=cupy", "--atomics", "--max_steps=2")
    assert asked == [False, True]
    again = ["--resume", "--out_dir=run", "--backend=cupy"]
    assert parse_train([*again, "--atomics"]).atomics and not parse_train([*again, "--no-atomics"]).atomics


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_a_run_goes_on_on_the_other_backend(gpu_xp, text, capsys, precision):
    """Also from the precisions that only a GPU has, and back to them."""
    expected, on_gpu = train(*RUN, "--backend=numpy"), ["--backend=cupy", f"--dtype={precision}"]
    for first, second in (([], on_gpu), (on_gpu, ["--backend=numpy", "--dtype=float32"])):
        train(*RUN, "--overwrite", *(first or ["--backend=numpy"]), "--max_steps=4")
        actual = resume(*second, "--max_steps=8")
        assert abs(actual[8] - expected[8]) < (1e-3 if precision == "float32" else 3e-2)
        told = "goes on in" in capsys.readouterr().out
        assert told == (precision != "float32")


SHORT = "--max_steps 10 --n_layer 1 --n_embd 32 --block_size 32 --batch_size 2 --eval_interval 5 --eval_iters 2"
RUNS = {  # flags of both; then those of CuPy alone, and how far apart losses may be
    "float32": ("", "", 1e-5),
    "float64": ("--dtype float64", "", 1e-12),
    "dropout": ("--dropout 0.1", "", 1e-5),
    "char": ("--tokenizer char", "", 1e-5),
    "accumulation": ("--grad_accum 2", "", 1e-5),
    "tied": ("--tie_weights --activation gelu", "", 1e-5),
    "no bias": ("--no-bias", "", 1e-5),
    "all": ("--dropout 0.2 --dtype float64 --grad_accum 2 --tie_weights --activation gelu --qkv_bias", "", 1e-12),
    "atomics": ("", "--atomics", 1e-5),
    "tf32": ("", "--dtype tf32", 1e-3),
    "bfloat16": ("", "--dtype bfloat16", 1e-3),
    "bfloat16 dropout": ("--dropout 0.1", "--dtype bfloat16", 1e-3),
}
KEYS = "loss", "grad_norm", "train_loss", "val_loss"


def command(folder, backend: str, flags: str) -> tuple[dict, str]:
    """({(step, key): number} of metrics.jsonl, the sample) of train.py."""
    arguments = [ROOT / "train.py", "--backend", backend, "--out_dir", folder, "--sample_tokens", "20"]
    arguments += [*SHORT.split(), *flags.split()]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "fakecuda:" not in done.stderr, done.stderr
    rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    numbers = {(row["step"], key): row[key] for row in rows for key in KEYS if row.get(key) is not None}
    return numbers, done.stdout.partition("a sample:")[2].partition("diagnosis:")[0]


PARTS_OF_OTHERS = {"float64", "dropout", "accumulation", "tied", "bfloat16"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [long(name) if name in PARTS_OF_OTHERS else name for name in RUNS])
def test_both_backends_side_by_side(gpu_xp, tmp_path, name):
    """The same losses, and where the arithmetic is the same the same text. `-s` prints the differences."""
    both, alone, bound = RUNS[name]
    expected, text = command(tmp_path / "numpy", "numpy", both)
    actual, other = command(tmp_path / "cupy", "cupy", f"{both} {alone}")
    assert expected.keys() == actual.keys()
    worst = {key: max(abs(expected[at] - actual[at]) for at in expected if at[1] == key) for key in KEYS}
    print(f"\n{name:18s}", *(f"{key} {value:.1e}" for key, value in worst.items()), "same text" * (text == other))
    assert worst["loss"] <= bound and worst["val_loss"] <= bound
    assert text == other or "tf32" in alone or "bfloat16" in alone


# Heads of every width on smaller GPUs, which have less shared memory


WIDTHS = """
import numpy as np
from nanograd import Device
from nanograd.kernels.attention import check_heads
from nanograd.layers.attention import Attention
from nanograd.layers.dropout import Dropout

BOUNDS = {"float64": 1e-12, "float32": 2e-5, "tf32": 3e-3, "bfloat16": 2e-2}
rng = np.random.default_rng(0)
for precision, bound in BOUNDS.items():
    if precision in ("tf32", "bfloat16") and int(Device("cupy").xp.cuda.Device().compute_capability) < 80:
        continue
    device = Device("cupy", precision)
    for width in (16, 32, 33, 64, 65, 128, 129, 256):
        try:
            check_heads(device, width)
        except ValueError as refused:
            print(width, refused)
            continue
        host = [rng.standard_normal((1, 20, n * width)).astype(device.dtype) for n in (3, 1)]
        results = []
        for where in (Device("numpy", "float64"), device):
            attention = Attention(1, Dropout(0.0, device=where), where.precision == "tf32")
            qkv, dy = (where.asarray(a.astype(where.dtype)) for a in host)
            y, dqkv = attention(qkv), attention.backward(dy)
            results.append([where.to_host(a).astype(np.float64) for a in (y, dqkv)])
        for e, a in zip(*results):
            assert abs(e - a).max() <= bound * max(1, abs(e).max()), (precision, width)
"""


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["75", "80", "86", "90"])
def test_heads_of_every_width(gpu_xp, arch):
    if not is_fake(gpu_xp) and arch != gpu_xp.cuda.Device().compute_capability:
        pytest.skip("another GPU than this one")
    settings = os.environ | {"FAKE_CUDA_ARCH": arch}
    command = [sys.executable, "-c", WIDTHS]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "fakecuda:" not in done.stderr, done.stderr
    refused = ["256", "129"] if arch == "75" else []
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(refused), done.stdout


@pytest.mark.slow
def test_heads_that_do_not_fit_are_refused_before_training(gpu_xp, text):
    if not is_fake(gpu_xp):
        pytest.skip("this needs the smallest of GPUs")
    flags = "--data=text.txt --tokenizer=char --n_head=1 --n_embd=256 --dtype=float64 --backend=cupy --out_dir=run"
    command, settings = [sys.executable, ROOT / "train.py", *flags.split()], os.environ | {"FAKE_CUDA_ARCH": "75"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "needs 66,944 bytes of shared memory, and this GPU has 65,536" in done.stderr and "--n_head" in done.stderr
    assert not os.path.exists("run")
