"""All ranks of this job: `world()`, and `connect(device)` where they exchange arrays of a device."""

import functools
import os
import sys

from nanograd.device.device import BackendUnavailable, Device
from nanograd.parallel.communicator import Communicator, Single

SIZE_VARIABLES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"  # MPICH and kin, Open MPI, MVAPICH
RANK_VARIABLES = "PMI_RANK", "PMIX_RANK"  # a launcher that tells no size


def started_by_mpi() -> bool:
    """Was this process started by mpiexec, srun and the like, or through `python -m mpi4py`?"""
    for name in SIZE_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name]) > 1
    return "mpi4py" in sys.modules or any(name in os.environ for name in RANK_VARIABLES)


@functools.cache
def world() -> Communicator:
    """All ranks of this job. Raises BackendUnavailable where mpiexec started it and mpi4py is missing."""
    if not started_by_mpi():
        return Single()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(
            f"mpiexec started this, and the ranks cannot talk: {error}; the packages mpi4py and mpich are needed "
            '(pip install -e ".[mpi]")'
        ) from None
    from nanograd.parallel.mpi_ranks import MPIRanks

    return MPIRanks(MPI) if MPI.COMM_WORLD.size > 1 else Single()


def connect(device: Device) -> Communicator:
    """All ranks of this job, able to exchange arrays of `device`; each takes a GPU of its own, if that is a GPU.

    Raises BackendUnavailable where that cannot be.
    """
    ranks = world()
    if ranks.size == 1 or device.name == "numpy":
        return ranks
    from nanograd.parallel.nccl_ranks import NCCLRanks, take_gpu

    take_gpu(device.xp, ranks)
    return NCCLRanks(ranks, device.xp)
