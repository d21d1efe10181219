"""`python -m nanograd.doctor`: what this machine has for nanograd, and what to do about what it lacks.

A table of what was found, then one line to run for each thing that is missing or does not fit. Exit code 0; with
`--backend cupy`, which asks for a GPU, 1 where none can be used. Nothing here changes anything.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nanograd import __version__
from nanograd.command import run
from nanograd.device import cuda
from nanograd.device.cores import available_cores, counted

LABELS = {True: "ok", False: "--"}


@dataclass
class Report:
    """Findings as (label, text, fine) and what to do as (what for, command or advice)."""

    findings: list[tuple[str, str, bool]] = field(default_factory=list)
    advice: list[tuple[str, str]] = field(default_factory=list)
    gpu: bool = False

    def found(self, label: str, text: str, fine: bool = True) -> None:
        self.findings.append((label, text, fine))

    def missing(self, label: str, text: str, advice: str) -> None:
        self.findings.append((label, text, False))
        self.advice.append((label, advice))

    def __str__(self) -> str:
        width = max(len(label) for label, _, _ in self.findings)
        lines = [f"{LABELS[fine]}  {label:<{width}}  {text}" for label, text, fine in self.findings]
        if self.advice:
            lines += ["", "what to do:", *(f"  {label}: {advice}" for label, advice in self.advice)]
        lines += ["", "--backend cupy will work" if self.gpu else "--backend cupy will not work; --backend numpy will"]
        return "\n".join(lines)


def examine() -> Report:
    """Look at everything. Never raises for what it finds."""
    report = Report()
    report.found("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    _numpy(report)
    cupy = _cupy(report)
    if cupy is not None:
        _gpu(report, cupy)
    _driver(report)
    _package(report, "NCCL", "nvidia-nccl-cu12", "only for several GPUs: pip install nvidia-nccl-cu12")
    _package(report, "MPI", "mpi4py", "only for several processes: pip install mpi4py mpich")
    return report


def _numpy(report: Report) -> None:
    from threadpoolctl import threadpool_info

    blas = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    names = ", ".join(
        f"{lib['internal_api']} {lib['version']} with {counted(lib['num_threads'], 'thread')}"
        + (f", its kernels for {lib['architecture']}" if "architecture" in lib else "")
        for lib in blas
    )
    if names:
        report.found("NumPy", f"{np.__version__}, BLAS: {names}")
    else:
        report.missing("NumPy", f"{np.__version__}, its BLAS was not recognised", "pip install --force-reinstall numpy")
    cores = available_cores()
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    told = "".join(f", {name}={value}" for name, value in limits.items())
    report.found("cores", f"{cores} of {os.cpu_count()} may be used{told}")


def _cupy(report: Report):
    """The imported CuPy, or None."""
    problem, cupy = cuda.import_cupy()
    if problem:
        names = cuda.cupy_packages()
        report.missing("CuPy", ", ".join(names) or "not installed", problem)
        return None
    report.found("CuPy", f"{cupy.__version__} ({', '.join(cuda.cupy_packages()) or 'not from a package'})")
    try:
        import ml_dtypes
    except ImportError:
        report.missing("ml_dtypes", "not installed", "needed for --dtype bfloat16: pip install ml_dtypes")
    else:
        report.found("ml_dtypes", ml_dtypes.__version__)
    return cupy


def _driver(report: Report) -> None:
    """What nvidia-smi says, which needs no CuPy."""
    smi = shutil.which("nvidia-smi")
    if smi is None and report.gpu:
        report.found("nvidia-smi", "not on the PATH, as in many containers; nothing here needs it")
        return
    if smi is None:
        report.missing("nvidia-smi", "not found", f"{cuda.NO_DRIVER}; without an NVIDIA GPU there is nothing to do")
        return
    query = [smi, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        report.missing("nvidia-smi", f"does not answer: {error}", "restart the machine, or install the driver again")
        return
    text = (done.stdout or done.stderr).strip().splitlines() or ["no output"]
    if done.returncode:
        report.missing("nvidia-smi", text[0], "install the NVIDIA driver again; it has to match the running kernel")
    else:
        for line in text:
            report.found("nvidia-smi", line)


def _gpu(report: Report, cupy) -> None:
    """Driver, runtime, libraries and devices as CuPy sees them."""
    problem = cuda.device_problem(cupy)
    runtime = cupy.cuda.runtime
    try:
        driver, wanted = (cuda.version_text(v) for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
        report.found("CUDA", f"driver up to {driver if driver != '0.0' else 'none'}, CuPy uses {wanted}", not problem)
    except (RuntimeError, ImportError, OSError) as error:
        report.found("CUDA", f"does not answer: {error}", False)
    if problem:
        report.advice.append(("CUDA", problem))
    library = cuda.library_problem(cupy)
    if library:
        report.missing("libraries", "cuBLAS or NVRTC is missing", library)
    else:
        report.found("libraries", "cuBLAS and NVRTC load")
    if problem:
        return
    report.gpu = not library
    for number in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(number)
        with cupy.cuda.Device(number) as device:
            free, total = device.mem_info
            text = f"{properties['name'].decode()}, compute capability {device.compute_capability}"
        enough = free > total / 10
        report.found(f"GPU {number}", f"{text}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free", enough)
        if not enough:
            report.advice.append((f"GPU {number}", "most of its memory is taken: nvidia-smi lists the programs"))


def _package(report: Report, label: str, package: str, advice: str) -> None:
    try:
        report.found(label, f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        report.missing(label, f"{package} is not installed", advice)


def main(arguments: Sequence[str] = ()) -> int:
    given = " ".join(arguments).replace("=", " ")
    if given == "--version":
        print(f"python -m nanograd.doctor of nanograd {__version__}")
        return 0
    if given not in ("", "--backend cupy", "--backend numpy"):
        print("usage: python -m nanograd.doctor [--backend cupy]", file=sys.stderr)
        return 0 if given in ("--help", "-h") else 2
    report = examine()
    print(report)
    return 1 if given == "--backend cupy" and not report.gpu else 0


if __name__ == "__main__":
    run(main)
