"""What libfakecuda has counted in this process: launches, bytes, operations, conflicts of shared memory."""

import ctypes
import json
import tempfile
from pathlib import Path


def is_fake(cupy) -> bool:
    """Whether CuPy's GPU is libfakecuda, and not a GPU."""
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].startswith(b"CPU pretending")


def take_counts() -> dict[str, dict[str, int]]:
    """{kernel, product or copy: its counts since the last call}. CuPy has to be imported.

    Always counted: `launches`, also of copies and of "wait for the device", and of a kernel the `threads` and the bytes
    of `shared` memory of its largest block. With FAKE_CUDA_COUNTS=1 also bytes of global memory `read` and `written`;
    those of the 32-byte sectors among them that are touched at least once (`sectors_read`, `sectors_written`); `flops`
    on ordinary cores and `tensor_flops` on tensor cores; turns that the banks of shared memory took (`shared_turns`)
    and would take without conflicts (`shared_least`). Products of cuBLAS are counted by their shapes.
    """
    library = ctypes.CDLL("libcuda.so.1")  # loaded already: the loader finds it by this name
    library.fake_cuda_counts.restype = ctypes.c_bool
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "counts")
        if not library.fake_cuda_counts(str(file).encode()):
            raise OSError(f"libfakecuda cannot write {file}")
        rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        return {row.pop("name"): row for row in rows}
