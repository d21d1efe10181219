"""Ranks over NCCL, with what plays its parts, or a GPU at hand."""

import json
import sys
import types

import numpy as np
import pytest

from nanograd import BackendUnavailable
from nanograd.parallel.communicator import Single
from nanograd.parallel.nccl_ranks import NCCLRanks, find_nccl, take_gpu
from tests.support import ROOT
from tests.support.mpi_job import needs_mpi, run_job
from tools.cuda_on_cpu.counts import is_fake

# NCCL


COLLECTIVES_OF_NCCL = """
import numpy as np
from nanograd import Device
from nanograd.parallel.communicator import Single
from nanograd.parallel.world import connect
from nanograd.parallel.nccl_ranks import NCCLRanks

device = Device("cupy")
ranks = connect(device)
ranks = NCCLRanks(ranks, device.xp) if isinstance(ranks, Single) else ranks
assert isinstance(ranks, NCCLRanks)
for dtype in ("float32", "float64"):
    parts = np.random.default_rng(1).standard_normal((ranks.size, 1001)).astype(dtype)
    mine = device.asarray(parts[ranks.rank])
    assert ranks.all_reduce(mine) is mine
    np.testing.assert_allclose(mine.get(), parts.sum(0), rtol=1e-5, atol=1e-6)
    assert (ranks.broadcast(device.asarray(parts[ranks.rank])).get() == parts[0]).all()
scalar = ranks.sum(device.asarray(np.float32(ranks.rank + 1)))
assert scalar.shape == () and float(scalar) == sum(range(1, ranks.size + 1))
assert ranks.sum(1.5) == 1.5 * ranks.size  # of the host: over MPI
ranks.barrier()
print("good")
"""


@pytest.fixture
def several_gpus(gpu_xp, monkeypatch):
    """At least two GPUs, and NCCL."""
    try:
        find_nccl()
    except BackendUnavailable as problem:
        pytest.skip(str(problem))
    if is_fake(gpu_xp):
        monkeypatch.setenv("FAKE_CUDA_DEVICES", "2")
    elif gpu_xp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU here, and NCCL wants one for each rank")


@needs_mpi
@pytest.mark.parametrize("size", [1, 2])
def test_collectives_of_nccl(several_gpus, tmp_path, size):
    (tmp_path / "collectives.py").write_text(COLLECTIVES_OF_NCCL, encoding="utf-8")
    done = run_job(size, "collectives.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("good") == size


@needs_mpi
@pytest.mark.slow
def test_two_gpus_over_nccl_train_as_one_process_does(several_gpus, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat; the dog sat on the log. " * 60, encoding="utf-8")
    flags = "--data=text.txt --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --grad_accum=2"
    flags += " --dropout=0.2 --dtype=float64 --max_steps=4 --warmup_steps=0 --log_interval=1 --eval_iters=2"
    losses = []
    for size, backend in ((0, "numpy"), (2, "cupy")):
        folder = tmp_path / backend
        where = f"--backend={backend}", f"--out_dir={folder}"
        done = run_job(size, ROOT / "train.py", *flags.split(), *where, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        losses.append([[row.get("loss") or 0, row.get("val_loss") or 0] for row in rows])
    assert "2 ranks" in done.stdout
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_each_rank_of_a_machine_takes_a_gpu_of_its_own():
    taken = []
    cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 2),
        Device=lambda number: types.SimpleNamespace(use=lambda: taken.append(number)),
    )
    for rank in (0, 1):
        take_gpu(types.SimpleNamespace(cuda=cuda), types.SimpleNamespace(host_rank=rank, host_size=2))
    assert taken == [0, 1]
    with pytest.raises(BackendUnavailable, match="3 ranks on a machine with 2 GPUs: start at most one rank a GPU"):
        take_gpu(types.SimpleNamespace(cuda=cuda), types.SimpleNamespace(host_rank=0, host_size=3))
    cuda.runtime.getDeviceCount = lambda: 1
    with pytest.raises(BackendUnavailable, match="2 ranks on a machine with 1 GPU: start"):
        take_gpu(types.SimpleNamespace(cuda=cuda), types.SimpleNamespace(host_rank=0, host_size=2))


def nccl_with(monkeypatch, **parts):
    """Let CuPy's NCCL module have these parts."""
    cuda = types.ModuleType("cupy.cuda")
    cuda.nccl = types.SimpleNamespace(**parts)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))


def test_a_missing_nccl_is_told_with_what_to_install(monkeypatch):
    nccl_with(monkeypatch, available=False)
    with pytest.raises(BackendUnavailable, match="pip install nvidia-nccl-cu12"):
        find_nccl()


def test_gpus_that_do_not_get_together(monkeypatch):
    class NcclError(RuntimeError):
        pass

    def refuse(*arguments):
        raise NcclError("unhandled system error")

    names = {"NCCL_FLOAT32": 7, "NCCL_FLOAT64": 8, "get_unique_id": lambda: bytes(128), "NcclError": NcclError}
    nccl_with(monkeypatch, available=True, NcclCommunicator=refuse, **names)
    with pytest.raises(BackendUnavailable, match="NCCL does not get 1 GPU together: unhandled system error"):
        NCCLRanks(Single(), None)
