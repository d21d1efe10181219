"""Settings of OpenBLAS, the BLAS of NumPy's wheels, which reads them when NumPy is imported and not later.

Kernels. OpenBLAS gives every processor with AVX-512 the kernels that were written for Intel's. AMD's Zen 4 computes 512
bits in two halves and gains nothing there; those for AVX2 are the faster ones on it (`benchmarks/RESULTS.md`).

Idle threads. A thread of OpenBLAS that has nothing to do keeps its core busy for 2^26 cycles, in case more work comes.
With 2^20, a third of a millisecond, it still is awake for the next product, and soon out of the way of other threads.

Both are OpenBLAS's own variables, and who has set them is left alone.
"""

import os
import sys

KERNELS, AVX2 = "OPENBLAS_CORETYPE", "Haswell"
IDLE, CYCLES = "OPENBLAS_THREAD_TIMEOUT", "20"  # a power of two
ENOUGH = 4096  # bytes of /proc/cpuinfo: the lines of the first core


def set_up_blas(environment=os.environ, cpuinfo: str = "/proc/cpuinfo") -> None:
    """Set the variables for this process and its children, unless it is too late."""
    if "numpy" in sys.modules:
        return
    environment.setdefault(IDLE, CYCLES)
    if KERNELS not in environment and is_zen4(cpuinfo):
        environment[KERNELS] = AVX2


def is_zen4(cpuinfo: str) -> bool:
    """Does this file describe a Zen 4? It shares its family, 25, with Zen 3, which has no AVX-512."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            lines = file.read(ENOUGH).partition("\n\n")[0].splitlines()
    except OSError:  # not Linux
        return False
    facts = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)}
    vendor, family, flags = (facts.get(name, []) for name in ("vendor_id", "cpu family", "flags"))
    return vendor == ["AuthenticAMD"] and family == ["25"] and "avx512f" in flags
