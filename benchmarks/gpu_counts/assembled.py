"""What NVIDIA's compilers make of a kernel: registers of a thread, bytes that it spills, and how full a GPU is of it.

NVRTC compiles for each architecture as CuPy has it do, and ptxas, the assembler, says what it allots. A multiprocessor
holds as many blocks of a kernel as its threads, registers and shared memory allow; the share of its threads that they
are is the kernel's occupancy. (CUDA C++ Programming Guide, "Compute Capabilities".)
"""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nanograd.kernels import launching

SHARED = {"sm_80": 164, "sm_90": 228, "sm_100": 228}  # KiB of a multiprocessor
RESERVED = 1024  # bytes of shared memory that CUDA takes for itself in every block
THREADS, BLOCKS, REGISTERS = 2048, 32, 65536  # of a multiprocessor, in all of these
CUPY = "-ftz=true", "--device-as-default-execution-space"  # the options that CuPy adds


class CompileError(RuntimeError):
    """What NVRTC or ptxas said."""


@dataclass(frozen=True)
class Assembled:
    registers: int
    stack: int  # bytes of a thread's arrays that lie in slow memory
    spilled: int  # bytes of registers that do


def ptxas() -> str | None:
    """NVIDIA's assembler: that of the package nvidia-cuda-nvcc-cu12, or one on the PATH."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else ()
    found = [path for place in places for path in Path(place).glob("cuda_nvcc/bin/ptxas")]
    return str(found[0]) if found else shutil.which("ptxas")


def compiled(family: str, names: tuple[str, ...], arch: str) -> tuple[bytes, dict[str, str]]:
    """PTX with the kernels `names` of a family for "sm_90" or the like, and {its name there: name}."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(launching.source(family), f"{family}.cu", [], [])
    for name in names:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, (*launching.OPTIONS, *CUPY, f"-arch={arch.replace('sm', 'compute')}"))
    except nvrtc.NVRTCError:
        raise CompileError(nvrtc.getProgramLog(program)) from None
    lowered = (nvrtc.getLoweredName(program, name) for name in names)
    return nvrtc.getPTX(program).rstrip(b"\0"), {
        entry.decode() if isinstance(entry, bytes) else entry: name for entry, name in zip(lowered, names, strict=True)
    }


def assembled(family: str, names: tuple[str, ...], arch: str, folder: Path) -> dict[str, Assembled]:
    """{name: what ptxas allots to a kernel}. Files are written to `folder`."""
    ptx, entries = compiled(family, names, arch)
    source = folder / f"{family}.{arch}.ptx"
    source.write_bytes(ptx)
    command = [ptxas(), "-v", f"-arch={arch}", str(source), "-o", str(source.with_suffix(".cubin"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(done.stderr)
    return {entries[entry]: one for entry, one in read_report(done.stderr) if entry in entries}


def read_report(report: str) -> list[tuple[str, Assembled]]:
    """(kernel, what it gets) of each in what `ptxas -v` says.

    >>> read_report('''ptxas info : Compiling entry function '_Z3addv' for 'sm_90'
    ... ptxas info : Function properties for _Z3addv
    ...     8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
    ... ptxas info : Used 40 registers, used 1 barriers, 512 bytes smem''')
    [('_Z3addv', Assembled(registers=40, stack=8, spilled=4))]
    """
    found = []
    for part in report.split("Compiling entry function '")[1:]:
        stack, stores = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", part).groups()
        registers = re.search(r"Used (\d+) registers", part)[1]
        found.append((part.partition("'")[0], Assembled(int(registers), int(stack), int(stores))))
    return found


def occupancy(arch: str, registers: int, threads: int, shared: int) -> float:
    """The share of a multiprocessor's threads that blocks of `threads` with so many registers and bytes take.

    >>> [occupancy("sm_90", *kernel) for kernel in ((32, 256, 0), (40, 256, 0), (32, 1024, 0), (32, 128, 36864))]
    [1.0, 0.75, 1.0, 0.375]
    """
    warps = -(-threads // 32)
    of_registers = REGISTERS // (-(-registers // 8) * 8 * 32) // warps  # a warp gets them by 256
    of_shared = SHARED[arch] * 1024 // (shared + RESERVED)
    return min(THREADS // threads, BLOCKS, of_registers, of_shared) * threads / THREADS
