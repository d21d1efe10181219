"""What ranks say to one another: alone, under a real mpiexec, and over NCCL."""

import json
import math
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from gpt.errors import UsageError
from gpt.training.distributed import broadcast_json, check_even_split, exchange, receive_json
from nanograd import BackendUnavailable
from nanograd.device.cores import available_cores
from nanograd.parallel import mpi_ranks
from nanograd.parallel import world as world_module
from nanograd.parallel.communicator import Communicator, Single
from nanograd.parallel.nccl_ranks import NCCLRanks, find_nccl, take_gpu
from nanograd.parallel.world import started_by_mpi
from tests.support import ROOT
from tests.support.mpi_job import needs_mpi, run_job
from tools.cuda_on_cpu.counts import is_fake

LAUNCHERS = (*world_module.SIZE_VARIABLES, *world_module.RANK_VARIABLES)


class Meeting:
    """Where ranks that are threads put down what they bring, and see what the others brought."""

    def __init__(self, size: int):
        self.brought, self.barrier = [None] * size, threading.Barrier(size, timeout=20)

    def exchange(self, rank: int, thing) -> list:
        self.barrier.wait()  # everybody has read what was brought before
        self.brought[rank] = thing
        self.barrier.wait()
        return list(self.brought)


class ThreadRanks(Communicator):
    """Ranks that are threads, for host arrays."""

    def __init__(self, meeting: Meeting | None, rank: int, size: int):
        self.meeting, self.rank, self.size = meeting, rank, size

    def all_reduce(self, array):
        array[...] = np.sum(self.meeting.exchange(self.rank, array.copy()), axis=0)
        return array

    def broadcast(self, array):
        array[...] = self.meeting.exchange(self.rank, array.copy())[0]
        return array

    def barrier(self):
        self.meeting.exchange(self.rank, None)

    def cores(self):
        return 1


def on_threads(size, work):
    """[work(rank's ThreadRanks) for each rank], side by side; the first error is raised."""
    meeting, results, errors = Meeting(size), [None] * size, []

    def run(rank):
        try:
            results[rank] = work(ThreadRanks(meeting, rank, size))
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
    return results


# Alone


def test_a_process_on_its_own_exchanges_nothing():
    ranks, array = Single(), np.arange(3.0)
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.all_reduce(array) is array and ranks.broadcast(array) is array
    assert ranks.barrier() is None and ranks.sum(2.5) == 2.5
    assert ranks.part(3, 7) == slice(3, 10)
    assert ranks.cores() == available_cores()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, True),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, False),
        ({"PMIX_RANK": "3"}, True),
    ],
)
def test_how_a_launcher_is_recognised(monkeypatch, variables, expected):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mpi4py", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_by_mpi() is expected


def test_a_launcher_without_mpi4py_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    world_module.world.cache_clear()
    with pytest.raises(BackendUnavailable, match=r'pip install -e ".\[mpi\]"'):
        world_module.world()
    assert world_module.world.cache_info().currsize == 0


@pytest.fixture
def fresh_world():
    world_module.world.cache_clear()
    yield world_module.world
    world_module.world.cache_clear()


@pytest.mark.parametrize(("size", "kind"), [(1, Single), (2, types.SimpleNamespace), (3, types.SimpleNamespace)])
def test_one_rank_under_a_launcher_is_alone(monkeypatch, fresh_world, size, kind):
    mpi4py = types.ModuleType("mpi4py")
    mpi4py.MPI = types.SimpleNamespace(COMM_WORLD=types.SimpleNamespace(size=size))
    monkeypatch.setitem(sys.modules, "mpi4py", mpi4py)
    monkeypatch.setattr(world_module, "started_by_mpi", lambda: True)
    monkeypatch.setattr(mpi_ranks, "MPIRanks", lambda mpi: types.SimpleNamespace(mpi=mpi))
    assert isinstance(fresh_world(), kind)


def test_mpi4py_is_not_imported_without_a_launcher():
    code = "import sys, gpt.training.run, nanograd.parallel.world as w; w.world(); print('mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_parts_lie_end_to_end(size):
    parts = []
    for rank in range(size):
        ranks = ThreadRanks(None, rank, size)
        parts += range(*ranks.part(10, 30).indices(100))
    assert parts == list(range(10, 40))


@pytest.mark.parametrize(("batch_size", "n_ranks"), [(32, 1), (32, 2), (32, 32), (12, 3)])
def test_batches_that_can_be_shared(batch_size, n_ranks):
    check_even_split(batch_size, n_ranks)


@pytest.mark.parametrize(
    ("batch_size", "n_ranks", "way_out"),
    [
        (32, 3, "--batch_size 30 or 33 can, or mpiexec -n 2"),
        (5, 8, "--batch_size 8 can, or mpiexec -n 5"),
        (12, 5, "--batch_size 10 or 15 can, or mpiexec -n 4"),
    ],
)
def test_a_batch_that_cannot_be_shared(batch_size, n_ranks, way_out):
    with pytest.raises(UsageError) as error:
        check_even_split(batch_size, n_ranks)
    assert way_out in str(error.value)


# What the leader and the others say


def test_orders_words_and_signals_reach_every_rank():
    def work(ranks):
        if ranks.rank == 0:
            broadcast_json(ranks, {"folder": "out/故事", "n": 3})
            return exchange(ranks, 2, 130)
        words = receive_json(ranks)
        assert words == {"folder": "out/故事", "n": 3}
        return exchange(ranks, 0, 0, [int(ranks.rank == 2), 1])

    assert on_threads(3, work) == [[2, 130, 1, 2]] * 3


# Under mpiexec

COLLECTIVES = """
import numpy as np
from nanograd.parallel.world import world

ranks = world()
assert (ranks.size, 0 <= ranks.rank < 3) == (3, True)
for dtype in ("float32", "float64", "int64"):
    for n in (1, 5, 513, 100_003):
        parts = [np.random.default_rng([n, rank]).normal(0, 100, n).astype(dtype) for rank in range(3)]
        mine = parts[ranks.rank].copy()
        assert ranks.all_reduce(mine) is mine
        np.testing.assert_allclose(mine, np.sum(parts, axis=0), rtol=1e-12, atol=1e-4 * (dtype == "float32"))
        first = ranks.broadcast(mine.copy())
        assert (first == mine).all()  # the same bits everywhere
        assert (ranks.broadcast(parts[ranks.rank].copy()) == parts[0]).all()
assert ranks.sum(ranks.rank + 0.5) == 4.5
assert ranks.sum(np.float32(2)) == 6.0
ranks.barrier()
print("good")
"""


@needs_mpi
def test_collectives_of_mpi(tmp_path):
    (tmp_path / "collectives.py").write_text(COLLECTIVES, encoding="utf-8")
    done = run_job(3, "collectives.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("good") == 3


class Machine:
    """What the ranks of one machine agree on, seen by one of them: each of its cores has so many `users`."""

    def __init__(self, users):
        self.users = users

    def Allreduce(self, in_place, array, operation=None):
        if operation is None:
            array *= self.users


def share(monkeypatch, cores, users, limit=math.inf, n_ranks=1):
    monkeypatch.setattr(mpi_ranks, "cgroup_limit", lambda: limit)
    monkeypatch.setattr(os, "sched_getaffinity", {0: set(range(3, 3 + cores))}.get, raising=False)
    ranks = object.__new__(mpi_ranks.MPIRanks)
    ranks._mpi, ranks._host, ranks.host_size = types.SimpleNamespace(IN_PLACE=1, MAX=2), Machine(users), n_ranks
    return ranks._share_cores()


def test_a_rank_gets_its_share_of_the_cores_that_it_may_use(monkeypatch):
    for cores in range(1, 30):
        for users in range(1, 30):
            assert share(monkeypatch, cores, users) == max(1, cores // users), (cores, users)


@pytest.mark.parametrize(("limit", "expected"), [(2, 1), (6, 2), (8, 2), (9, 3), (30, 7)])
def test_ranks_share_the_limit_of_their_cgroup(monkeypatch, limit, expected):
    assert share(monkeypatch, 7, 1, limit, n_ranks=3) == expected


@pytest.mark.parametrize(("cores", "n_ranks", "expected"), [(8, 3, 2), (6, 3, 2), (2, 3, 1)])
def test_a_share_where_the_system_tells_no_affinity(monkeypatch, cores, n_ranks, expected):
    ranks = object.__new__(mpi_ranks.MPIRanks)
    ranks.host_size = n_ranks
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(mpi_ranks, "available_cores", lambda: cores)
    assert ranks._share_cores() == expected


class Request:
    """Done when it has been asked `tests` times; each test takes a `tick` on a clock of its own."""

    def __init__(self, monkeypatch, tests, tick):
        self.left, self.naps, now = tests, [], [100.0]
        self.clock, self.tick = now, tick
        monkeypatch.setattr(mpi_ranks.time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(mpi_ranks.time, "sleep", self.nap)

    def Test(self):
        self.clock[0] += self.tick
        self.left -= 1
        return self.left < 0

    def nap(self, seconds):
        self.clock[0] += seconds
        self.naps.append(seconds)


def test_a_rank_that_waits_takes_naps_after_a_moment(monkeypatch):
    request = Request(monkeypatch, tests=10, tick=2**-13)
    assert mpi_ranks.wait(request)
    assert request.naps == [1e-4] * 9  # none after 0.12 ms, one after 0.24


@pytest.mark.parametrize(("seconds", "complete"), [(0.9, False), (1.1, True), (math.inf, True)])
def test_a_rank_waits_no_longer_than_it_is_told(monkeypatch, seconds, complete):
    assert mpi_ranks.wait(Request(monkeypatch, tests=2, tick=0.5), seconds) is complete


class Failures:
    """What the ranks that fail tell one another: a rank of `size`, `told` by a lower one after so many probes."""

    def __init__(self, monkeypatch, rank, size, all_failed=False, told=math.inf):
        self.sent, self.probes, self.told, self.naps, now = [], 0, told, [], [0.0]

        def nap(seconds):
            self.naps.append(seconds)
            now[0] += seconds

        monkeypatch.setattr(mpi_ranks, "wait", lambda request, seconds: all_failed if seconds == 0.3 else None)
        monkeypatch.setattr(mpi_ranks.time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(mpi_ranks.time, "sleep", nap)
        self.ranks = object.__new__(mpi_ranks.MPIRanks)
        self.ranks.rank, self.ranks.size, self.ranks._failures = rank, size, self
        self.ended = []
        world = types.SimpleNamespace(Abort=lambda code: self.ended.append(code))
        self.ranks._mpi = types.SimpleNamespace(COMM_WORLD=world, Finalize=lambda: self.ended.append("left"))

    def Ibarrier(self):
        return "everybody"

    def Isend(self, array, rank):
        assert array.size == 1
        self.sent.append(rank)

    def Iprobe(self):
        self.probes += 1
        return self.probes > self.told


def test_where_all_ranks_fail_the_first_speaks_and_all_leave(monkeypatch):
    for rank in (0, 1, 2):
        failures = Failures(monkeypatch, rank, 3, all_failed=True)
        assert failures.ranks.fails_first() is (rank == 0)
        failures.ranks.abort(7)
        assert failures.ended == ["left"] and not failures.sent and not failures.naps


def test_where_some_ranks_fail_the_lowest_speaks_and_ends_the_job(monkeypatch):
    for rank, sent in ((0, []), (1, [2, 3]), (3, [])):
        failures = Failures(monkeypatch, rank, 4)
        assert failures.ranks.fails_first() is True and failures.sent == sent
        assert bool(failures.probes) is (rank > 0)
        if rank:
            assert 0.3 <= sum(failures.naps) < 0.31 and set(failures.naps) == {1e-4}
        failures.ranks.abort(7)
        assert failures.ended == [7]


def test_a_rank_that_hears_of_a_lower_one_waits_for_its_end(monkeypatch):
    failures = Failures(monkeypatch, 2, 4, told=5)
    assert failures.ranks.fails_first() is False
    assert failures.sent == [3] and failures.naps == [1e-4] * 5 + [3.0]


class World:
    """What plays mpi4py.MPI and its communicators, for one rank of three: it keeps what is asked of it."""

    rank, size, IN_PLACE, COMM_TYPE_SHARED, MAX = 1, 3, "in place", "shared", "max"

    def __init__(self):
        self.asked = []
        self.COMM_WORLD = self

    def Dup(self):
        return self

    def Split_type(self, kind):
        assert kind == "shared"
        return self

    def Allreduce(self, in_place, array, operation=None):
        assert in_place == "in place"
        self.asked.append("Allreduce")

    def Iallreduce(self, in_place, array):
        assert in_place == "in place"
        return self._request("Iallreduce")

    def Ibarrier(self):
        return self._request("Ibarrier")

    def Abort(self, code):
        self.asked.append(code)

    def _request(self, name):
        self.asked.append(name)
        return types.SimpleNamespace(Test=lambda: True)


@pytest.mark.parametrize(
    ("n", "asked"), [(1, ["Iallreduce"]), (4096, ["Iallreduce"]), (4097, ["Ibarrier", "Allreduce"])]
)
def test_small_arrays_go_along_with_the_waiting(n, asked):
    ranks = mpi_ranks.MPIRanks(world := World())
    assert (ranks.rank, ranks.size, ranks.host_rank, ranks.host_size) == (1, 3, 1, 3)
    world.asked.clear()
    array = np.zeros(n, dtype=np.uint8)
    assert ranks.all_reduce(array) is array and world.asked == asked


def test_a_rank_that_fails_alone_ends_the_others():
    ranks = mpi_ranks.MPIRanks(world := World())
    ranks.abort(5)
    assert world.asked[-1] == 5


@pytest.mark.parametrize("missing", ["all_reduce", "broadcast", "barrier", "cores"])
def test_a_communicator_has_every_operation(missing):
    methods = {name: print for name in ("all_reduce", "broadcast", "barrier", "cores") if name != missing}
    with pytest.raises(TypeError, match=missing):
        type("Half", (Communicator,), methods)()


@pytest.mark.parametrize(("size", "backend", "over"), [(1, "cupy", "mpi"), (2, "numpy", "mpi"), (2, "cupy", "nccl")])
def test_only_several_ranks_with_gpus_need_nccl(monkeypatch, size, backend, over):
    from nanograd.parallel import nccl_ranks

    ranks, device, taken = types.SimpleNamespace(size=size), types.SimpleNamespace(name=backend, xp="xp"), []
    monkeypatch.setattr(world_module, "world", lambda: ranks)
    monkeypatch.setattr(nccl_ranks, "take_gpu", lambda xp, ranks: taken.append((xp, ranks)))
    monkeypatch.setattr(nccl_ranks, "NCCLRanks", lambda ranks, xp: ("nccl", ranks, xp))
    expected = ranks if over == "mpi" else ("nccl", ranks, "xp")
    assert world_module.connect(device) == expected and bool(taken) is (over == "nccl")


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
        losses.append([[row.get("loss"), row.get("val_loss") or 0] for row in rows])
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
