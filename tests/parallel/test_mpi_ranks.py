"""Ranks under mpiexec: collectives, cores, requests, and how they end."""

import math
import os
import types

import numpy as np
import pytest

from nanograd.parallel import mpi_ranks
from nanograd.parallel import world as world_module
from nanograd.parallel.communicator import Communicator
from tests.support.mpi_job import needs_mpi, run_job

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
