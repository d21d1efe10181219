"""Ranks with a GPU each, which exchange arrays over NCCL, NVIDIA's library for that.

MPI starts the ranks and hands out the id under which NCCL lets them meet. Arrays on the GPU then go from GPU to
GPU, in the order of the current stream and without the host waiting; arrays on the host go over MPI.
"""

import warnings

import numpy as np

from nanograd.device.cores import counted
from nanograd.device.device import BackendUnavailable
from nanograd.parallel.communicator import Communicator

ID_BYTES = 128  # NCCL_UNIQUE_ID_BYTES


class NCCLRanks(Communicator):
    """The ranks of `host`, which serves host arrays, with `cupy`'s current GPU as this rank's own.

    Raises BackendUnavailable where NCCL is missing or does not get them together.
    """

    def __init__(self, host: Communicator, cupy):
        self.rank, self.size = host.rank, host.size
        self._host, self._cupy = host, cupy
        self._nccl = nccl = find_nccl()
        self._types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
        identity = nccl.get_unique_id() if self.rank == 0 else bytes(ID_BYTES)
        identity = host.broadcast(np.frombuffer(identity, dtype=np.uint8).copy())
        try:
            self._comm = nccl.NcclCommunicator(self.size, identity.tobytes(), self.rank)
        except nccl.NcclError as error:
            raise BackendUnavailable(f"NCCL does not get {counted(self.size, 'GPU')} together: {error}") from error

    def all_reduce(self, array):
        if isinstance(array, np.ndarray):
            return self._host.all_reduce(array)
        place, kind = array.data.ptr, self._types[array.dtype.name]
        self._comm.allReduce(place, place, array.size, kind, self._nccl.NCCL_SUM, self._stream())
        return array

    def broadcast(self, array):
        if isinstance(array, np.ndarray):
            return self._host.broadcast(array)
        place, kind = array.data.ptr, self._types[array.dtype.name]
        self._comm.broadcast(place, place, array.size, kind, 0, self._stream())
        return array

    def barrier(self) -> None:
        """Wait until every rank is here and its GPU has done its work."""
        self._cupy.cuda.get_current_stream().synchronize()
        self._host.barrier()

    def cores(self) -> int:
        return self._host.cores()

    def _stream(self):
        return self._cupy.cuda.get_current_stream().ptr


def find_nccl():
    """CuPy's NCCL module. Raises BackendUnavailable, saying what to install, where the library is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's, about the library: ours is the error below
        from cupy.cuda import nccl
    if not nccl.available:
        raise BackendUnavailable(
            "several GPUs need the library NCCL, which CuPy does not find: pip install nvidia-nccl-cu12 "
            "(nvidia-nccl-cu13 for CUDA 13)"
        )
    return nccl


def take_gpu(cupy, ranks) -> None:
    """Make the GPU of this rank the current one: on each machine the first rank takes the first.

    Raises BackendUnavailable where a machine has more ranks than GPUs, which NCCL does not allow.
    """
    count = cupy.cuda.runtime.getDeviceCount()
    if ranks.host_size > count:
        raise BackendUnavailable(
            f"{ranks.host_size} ranks on a machine with {count} GPU{'s' * (count != 1)}: start at most one rank a GPU, "
            "or compute on the CPU with --backend numpy"
        )
    cupy.cuda.Device(ranks.host_rank % count).use()
