"""What the tests of worker processes share."""

import pytest

from nanograd.parallel.processes import WorkerProcess


@pytest.fixture
def worker():
    worker = WorkerProcess([])
    yield worker
    worker.end()
