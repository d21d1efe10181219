"""A command that mpiexec started several times: only one rank prints, and an error in one ends them all.

Other than in such a job, nothing here does anything, nor takes time to import.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

LAUNCHER_VARIABLES = "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"


def ranks():
    """All ranks of this job; None for a process on its own. Raises BackendUnavailable where mpi4py is missing."""
    if "mpi4py" not in sys.modules and not any(name in os.environ for name in LAUNCHER_VARIABLES):
        return None
    from nanograd.parallel.world import world

    return world() if world().size > 1 else None


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Within it, what any rank but the first says goes nowhere; errors that leave it do so in every rank."""
    job = ranks()
    if job is None or job.rank == 0:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def fails_first() -> bool:
    """After an error: should this rank tell the user of it? Of ranks that fail at the same time only one does."""
    try:
        job = ranks()
    except RuntimeError:  # the error that is to be printed
        return all(os.environ.get(name, "0") == "0" for name in LAUNCHER_VARIABLES)
    return job is None or job.fails_first()


def end_job(code: int) -> None:
    """After an error: end all the other ranks too, wherever they are."""
    job = _ranks_if_any()
    if job is not None:
        job.abort(code)


def leave_job() -> None:
    """Come to the end together with the other ranks."""
    job = _ranks_if_any()
    if job is not None:
        job.leave()


def _ranks_if_any():
    try:
        return ranks()
    except RuntimeError:  # the error that is being reported
        return None
