"""How many cores there are to use: what a process is allowed, not what the machine has."""

import math
import os


def available_cores() -> int:
    """The cores that this process may use: its affinity, and its cgroup's limit where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_cgroup_limits()])


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "thread"), counted(2, "process")
    ('1 thread', '2 processes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def cgroup_limit() -> float:
    """The whole cores that this process's cgroup allows all of its processes together; infinity without a limit."""
    return min(_cgroup_limits(), default=math.inf)


def _cgroup_limits():
    """Whole cores allowed by cgroup v2 and v1, for as many as can be read."""
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        try:
            with open(path, encoding="ascii") as file:
                quota, *period = file.read().split()
            if not period:
                with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                    period = file.read().split()
            if quota not in ("max", "-1"):
                yield max(1, int(quota) // int(period[0]))
        except (OSError, ValueError):
            continue  # no such cgroup here, which is no limit
