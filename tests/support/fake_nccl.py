"""A stand-in for CuPy's NCCL module, for ranks that are threads of one process: as strict as NCCL about what it is
given, and a deadlock ends in an error."""

import ctypes
import threading

import numpy as np

NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0
TYPES = {NCCL_FLOAT32: np.float32, NCCL_FLOAT64: np.float64}
TIME_LIMIT = 20  # seconds

available = True


class NcclError(RuntimeError):
    pass


class Meeting:
    """Where the ranks with one id put down what they bring, and see what the others brought.

    Only who holds the `baton` works, for the CPU that plays a GPU has one thread; who waits here has put it down.
    """

    baton = threading.Lock()

    def __init__(self, size: int):
        self.brought = [None] * size
        self.barrier = threading.Barrier(size, timeout=TIME_LIMIT)

    def exchange(self, rank: int, thing) -> list:
        self._wait()  # everybody has read what was brought before
        self.brought[rank] = thing
        self._wait()
        return list(self.brought)

    def _wait(self):
        self.baton.release()
        try:
            self.barrier.wait()
        finally:
            self.baton.acquire()


_meetings = {}
_lock = threading.Lock()


def get_unique_id() -> bytes:
    return np.random.default_rng().bytes(128)


def memory(pointer: int, count: int, datatype: int) -> np.ndarray:
    dtype = np.dtype(TYPES[datatype])
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(pointer), dtype=dtype)


class NcclCommunicator:
    calls = 0  # of all ranks

    def __init__(self, ndev: int, commId: bytes, rank: int):
        if type(commId) is not bytes or len(commId) != 128 or not 0 <= rank < ndev:
            raise NcclError("NCCL_ERROR_INVALID_ARGUMENT")
        self.rank = rank
        with _lock:
            self.meeting = _meetings.setdefault(commId, Meeting(ndev))
        self.meeting.exchange(rank, None)

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        assert op == NCCL_SUM and isinstance(stream, int)
        arrays = self._gather(memory(sendbuf, count, datatype), "sum", datatype)
        memory(recvbuf, count, datatype)[...] = np.sum(arrays, axis=0)

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        assert isinstance(stream, int)
        arrays = self._gather(memory(sendbuff, count, datatype), "broadcast", datatype)
        memory(recvbuff, count, datatype)[...] = arrays[root]

    def _gather(self, array, what, datatype):
        NcclCommunicator.calls += 1
        brought = self.meeting.exchange(self.rank, (what, datatype, array.copy()))
        if len({(kind, type_, a.shape) for kind, type_, a in brought}) != 1:
            raise NcclError(f"the ranks disagree: {[(kind, type_, a.shape) for kind, type_, a in brought]}")
        return [a for _, _, a in brought]
