"""Words about the machine and the libraries that a measurement was made with, and what is asked of its flags."""

import argparse
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from gpt.errors import RunError
from nanograd.device.cores import available_cores


def describe_machine() -> dict:
    """{"processor", "cores", "python", "numpy", "torch", "blas"}; None for what is not there."""
    import numpy as np  # noqa: F401  loads the BLAS that is reported
    from threadpoolctl import threadpool_info

    return {
        "processor": processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "numpy": installed("numpy"),
        "torch": installed("torch"),
        "blas": [f"{info['internal_api']} {info['version']}" for info in threadpool_info()],
    }


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def need_torch(otherwise: str = "") -> None:
    """Raises RunError where PyTorch is not installed. `otherwise`: what to do without."""
    if not installed("torch"):
        raise RunError(f"PyTorch is not installed, and this compares with it (pip install torch){otherwise}")


def with_torch_or_without(names: list[str]) -> list[str]:
    """The contenders that can run here; a line on stderr says that those in PyTorch cannot, where it is missing."""
    possible = [name for name in names if installed("torch") or not name.startswith("torch")]
    if possible != names:
        print("PyTorch is not installed: its contenders are left out (pip install torch)", file=sys.stderr)
    return possible


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def at_least_1(text: str) -> int:
    """A flag's value, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)
