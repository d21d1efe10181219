"""Words about the machine and the libraries that a measurement was made with."""

import platform
from importlib.metadata import PackageNotFoundError, version

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


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
