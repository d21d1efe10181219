"""Finding CuPy and a GPU, and saying in one line what is wrong where that fails.

What goes wrong with CuPy goes wrong in a handful of ways: no package, two packages that overwrite each other, no
driver, a driver older than the CUDA it is asked to run, no device in sight, libraries that are not installed, no
memory left. Each has its message here, used by `Device`, by the command lines and by `python -m nanograd.doctor`.
"""

import importlib.util
import os
import re
import sys

DOCTOR = "python -m nanograd.doctor says more"
WITHOUT_GPU = "--backend numpy runs without a GPU"
NO_PACKAGE = (
    "the package CuPy is not installed; with an NVIDIA GPU: pip install 'cupy-cuda12x[ctk]' (cupy-cuda13x for CUDA 13)"
)
NO_DRIVER = "no NVIDIA driver was found; install the GPU's driver (version 525 or later for CUDA 12)"

# What CuPy's errors say, and what to do about it. The first that matches counts.
RUNTIME_ERRORS = (
    ("InsufficientDriver", "the NVIDIA driver is missing or older than CuPy's CUDA; update the driver"),
    ("NoDevice", "the driver sees no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES"),
    (
        "NoKernelImage|NoBinaryForGpu|UNSUPPORTED_GPU_ARCH|invalid value for --gpu-arch",
        "this CuPy cannot build programs for this GPU; update CuPy: pip install -U 'cupy-cuda12x[ctk]'",
    ),
    (
        "MemoryAllocation|ALLOC_FAILED|out of memory",
        "the GPU is out of memory; lower --batch_size or --block_size (--grad_accum makes up for a smaller batch)",
    ),
    ("NOT_INITIALIZED", "cuBLAS could not start, mostly for want of GPU memory; lower --batch_size or --block_size"),
    (
        "IllegalAddress|LaunchFailure|IllegalInstruction|MisalignedAddress|Assert",
        "a program on the GPU failed, and its results are lost; please report it with the output of nanograd.doctor",
    ),
    ("ECCUncorrectable|HardwareStackError", "the GPU reports a hardware error; nvidia-smi -q tells more"),
    ("DevicesUnavailable", "another program holds the GPU for itself; nvidia-smi lists it"),
    (
        r"cannot open source file|CUDA headers",
        "CUDA's header files are missing; install all of CUDA that is needed: pip install 'cupy-cuda12x[ctk]'",
    ),
    (
        r"lib\w+\.so|DynamicLib|nvrtc.*not found|Failure finding",
        "a CUDA library is missing; install all of them: pip install 'cupy-cuda12x[ctk]'",
    ),
)


def cupy_packages() -> list[str]:
    """The names of all installed distributions of CuPy; more than one is a mistake, as they share one folder."""
    import importlib.metadata  # here, as only a machine with CuPy needs it

    names = {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    return sorted(name for name in names if re.fullmatch(r"cupy(-cuda\d+x|-rocm[\d-]+)?", name))


def two_packages(names: list[str]) -> str:
    """What to do about several CuPy packages at once."""
    return (
        f"several CuPy packages are installed at once ({', '.join(names)}) and overwrite each other: "
        f"pip uninstall -y {' '.join(names)} && pip install 'cupy-cuda12x[ctk]'"
    )


def version_text(number: int) -> str:
    """CUDA's version number as people write it.

    >>> version_text(12090)
    '12.9'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def describe_error(error: BaseException) -> str | None:
    """One line for an error that CuPy or CUDA raised, or None for an error that is not theirs."""
    text = f"{type(error).__name__}: {error}"
    theirs = (type(error).__module__ or "").startswith(("cupy", "cuda."))
    library = isinstance(error, ImportError) and re.search(r"lib(cu|nv)\w+\.so", text)
    if not theirs and not library:
        return None
    for pattern, advice in RUNTIME_ERRORS:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{advice} ({_first_line(text)})"
    return f"CuPy failed: {_first_line(text)}; {DOCTOR}"


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) <= 160 else line[:157] + "..."


def find_cupy():
    """(None, cupy) where CuPy can run, else (what is missing and what to do about it, None)."""
    problem, cupy = import_cupy()
    problem = problem or device_problem(cupy) or library_problem(cupy)
    return (f"{problem}. {WITHOUT_GPU}; {DOCTOR}", None) if problem else (None, cupy)


def import_cupy():
    """(None, cupy), or (what is wrong with the package, None)."""
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        return NO_PACKAGE, None
    names = cupy_packages()
    if len(names) > 1:
        return two_packages(names), None
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is installed but does not import: {_first_line(str(error))}; install it again", None
    return None, cupy


def device_problem(cupy) -> str | None:
    """What keeps an imported CuPy from reaching a GPU: the driver or the device; None where nothing does."""
    runtime = cupy.cuda.runtime
    try:
        driver, wanted = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except (RuntimeError, ImportError, OSError) as error:
        return f"the CUDA driver does not answer ({_first_line(str(error))})"
    if driver == 0:
        return NO_DRIVER
    if driver // 1000 < wanted // 1000:
        return (
            f"the driver supports CUDA {version_text(driver)}, CuPy was built for {version_text(wanted)}: update the "
            f"driver, or install the CuPy for CUDA {driver // 1000}"
        )
    try:
        count = runtime.getDeviceCount()
    except RuntimeError as error:
        return describe_error(error) or f"the GPUs cannot be counted ({_first_line(str(error))})"
    if count == 0:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason = f"CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else "look at nvidia-smi"
        return f"the driver is there but sees no GPU; {reason}"
    return None


def library_problem(cupy) -> str | None:
    """Which of the CUDA libraries that we need does not load; None where all do."""
    for name, load in (
        ("cuBLAS", lambda: cupy.cuda.cublas.gemmEx),
        ("NVRTC", lambda: cupy.cuda.nvrtc.getVersion()),
    ):
        try:
            load()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            return f"{name} is missing; pip install 'cupy-cuda12x[ctk]' ({_first_line(str(error))})"
    return None
