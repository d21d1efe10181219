"""What ranks say to one another: alone, under a real mpiexec, and over NCCL."""

import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from gpt.errors import UsageError
from gpt.training.distributed import broadcast_json, check_even_split, exchange, receive_json
from gpt.training.signals import STOP_SIGNALS
from nanograd import BackendUnavailable
from nanograd.device.cores import available_cores
from nanograd.parallel import mpi_ranks
from nanograd.parallel import world as world_module
from nanograd.parallel.communicator import Communicator, Single
from nanograd.parallel.world import started_by_mpi
from tests.support import ROOT

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


def test_commands_words_and_signals_reach_every_rank():
    def work(ranks):
        if ranks.rank == 0:
            broadcast_json(ranks, {"folder": "out/故事", "n": 3})
            return exchange(ranks, 2, 130)
        words = receive_json(ranks)
        assert words == {"folder": "out/故事", "n": 3}
        return exchange(ranks, 0, 0, [int(ranks.rank == 2), 1, *others])

    others = [0] * (len(STOP_SIGNALS) - 2)
    assert on_threads(3, work) == [[2, 130, 1, 2, *others]] * 3
