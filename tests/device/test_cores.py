"""How many cores a process may use: affinity, and what its control group allows."""

import io
import math

import pytest

from nanograd.device import cores as cores_module
from nanograd.device.cores import available_cores, cgroup_limit, counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "thread", "1 thread"), (2, "thread", "2 threads"), (0, "GPU", "0 GPUs"), (3, "process", "3 processes")],
)
def test_one_of_a_thing_is_not_several(number, noun, text):
    assert counted(number, noun) == text


def test_cores_are_at_least_one():
    assert available_cores() >= 1


def pretend(monkeypatch, files, cores=8):
    """As if this process might run on `cores` cores, and the control group's files held `files`."""

    def affinity(process):
        assert process == 0, "this process, not another"
        return set(range(cores))

    def fake_open(path, encoding):
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(cores_module.os, "sched_getaffinity", affinity, raising=False)
    monkeypatch.setattr(cores_module, "open", fake_open, raising=False)


V2, V1 = "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"
PERIOD = "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 8),
        ({V2: "300000 100000\n"}, 3),
        ({V2: "350000 100000\n"}, 3),
        ({V2: "50000 100000\n"}, 1),
        ({V2: "1600000 100000\n"}, 8),
        ({V2: "max 100000\n"}, 8),
        ({V1: "500000\n", PERIOD: "100000\n"}, 5),
        ({V1: "-1\n", PERIOD: "100000\n"}, 8),
        ({V1: "500000\n"}, 8),
        ({V2: "nonsense\n"}, 8),
        ({V2: "nonsense\n", V1: "200000\n", PERIOD: "100000\n"}, 2),
    ],
)
def test_cores_are_no_more_than_the_control_group_allows(monkeypatch, files, cores):
    pretend(monkeypatch, files)
    assert available_cores() == cores


@pytest.mark.parametrize(
    ("files", "limit"), [({}, math.inf), ({V2: "50000 100000\n"}, 1), ({V2: "1600000 100000\n"}, 16)]
)
def test_the_limit_of_a_control_group_is_at_least_a_core(monkeypatch, files, limit):
    pretend(monkeypatch, files)
    assert cgroup_limit() == limit


def test_one_core_is_one_core(monkeypatch):
    pretend(monkeypatch, {}, cores=1)
    assert available_cores() == 1


@pytest.mark.parametrize("counted, cores", [(3, 3), (None, 1)])
def test_where_there_is_no_affinity_the_machines_cores_count(monkeypatch, counted, cores):
    pretend(monkeypatch, {})
    monkeypatch.delattr(cores_module.os, "sched_getaffinity")
    monkeypatch.setattr(cores_module.os, "cpu_count", lambda: counted)
    assert available_cores() == cores
