"""Each way in which CuPy fails has a line of its own, and train.py shows it with exit code 2."""

import subprocess
import sys
import types

import pytest

from nanograd import BackendUnavailable, Device
from nanograd.device import cuda


class CUDARuntimeError(RuntimeError):
    """As CuPy's own, by its module's name."""


class OutOfMemoryError(MemoryError):
    """As CuPy's own."""


class CompileException(Exception):
    """As CuPy's own."""


CompileException.__module__ = "cupy.cuda.compiler"
CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"
OutOfMemoryError.__module__ = "cupy.cuda.memory"


def fake_cupy(driver=12090, runtime=12090, count=1, cublas=True):
    def get_device_count():
        if isinstance(count, Exception):
            raise count
        return count

    calls = types.SimpleNamespace(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: runtime, getDeviceCount=get_device_count
    )
    libraries = types.SimpleNamespace(gemmEx=print) if cublas else None
    nvrtc = types.SimpleNamespace(getVersion=lambda: (12, 9))
    return types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=calls, cublas=libraries, nvrtc=nvrtc))


def test_a_machine_that_has_everything():
    assert cuda.device_problem(fake_cupy()) is None
    assert cuda.library_problem(fake_cupy()) is None


@pytest.mark.parametrize(("number", "text"), [(12090, "12.9"), (13000, "13.0"), (11080, "11.8"), (12990, "12.99")])
def test_versions(number, text):
    assert cuda.version_text(number) == text


@pytest.mark.parametrize(
    ("driver", "runtime", "fits"),
    [(12000, 12000, True), (12000, 12990, True), (13000, 12090, True), (11990, 12000, False), (11080, 11990, True)],
)
def test_a_driver_runs_every_cuda_of_its_own_number_and_below(driver, runtime, fits):
    assert (cuda.device_problem(fake_cupy(driver=driver, runtime=runtime)) is None) is fits


@pytest.mark.parametrize("driver", [11000, 11990])
def test_which_cupy_a_driver_would_run(driver):
    assert cuda.device_problem(fake_cupy(driver=driver)).endswith(", or install the CuPy for CUDA 11")


def test_the_first_line_of_an_error_is_kept_short():
    def shown(text):
        return cuda.describe_error(CUDARuntimeError(text)).removeprefix("CuPy failed: CUDARuntimeError: ")

    most = 160 - len("CUDARuntimeError: ")
    assert shown("x" * most + "\nmore") == "x" * most + f"; {cuda.DOCTOR}"
    assert shown("x" * (most + 1)) == "x" * (most - 3) + f"...; {cuda.DOCTOR}"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"driver": 0}, "no NVIDIA driver was found"),
        ({"driver": 11040}, r"supports CUDA 11\.4, CuPy was built for 12\.9.*update the driver.*for CUDA 11"),
        ({"count": 0}, "sees no GPU"),
        ({"count": CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")}, "nvidia-smi"),
    ],
)
def test_what_keeps_cupy_from_the_gpu(setting, says):
    import re

    assert re.search(says, cuda.device_problem(fake_cupy(**setting)))


def test_hidden_devices_are_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in cuda.device_problem(fake_cupy(count=0))


def test_a_missing_library():
    problem = cuda.library_problem(fake_cupy(cublas=False))
    assert "cuBLAS" in problem and "[ctk]" in problem


def test_the_packages_that_bring_cupy(monkeypatch):
    import importlib.metadata

    names = ("CuPy-CUDA12x", "cupy", None, "cupy-rocm-5-0", "cupy-cuda", "numpy", "cupy-xarray", "cupy")
    found = [types.SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    assert cuda.cupy_packages() == ["cupy", "cupy-cuda12x", "cupy-rocm-5-0"]


def test_a_package_that_does_not_import(monkeypatch):
    monkeypatch.setattr(cuda, "cupy_packages", lambda: ["cupy-cuda12x"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    problem, module = cuda.import_cupy()
    assert module is None and problem.startswith("CuPy is installed but does not import: ")


@pytest.mark.parametrize(
    ("setting", "says"), [({"cublas": False}, "cuBLAS is missing"), ({"count": 0}, "sees no GPU"), ({}, None)]
)
def test_whatever_is_missing_is_found(monkeypatch, setting, says):
    cupy = fake_cupy(**setting)
    monkeypatch.setattr(cuda, "import_cupy", lambda: (None, cupy))
    problem, found = cuda.find_cupy()
    assert (says in problem and found is None) if says else (problem is None and found is cupy)


def test_two_packages(monkeypatch):
    monkeypatch.setattr(cuda, "cupy_packages", lambda: ["cupy-cuda11x", "cupy-cuda12x"])
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    problem, module = cuda.import_cupy()
    assert module is None and "pip uninstall -y cupy-cuda11x cupy-cuda12x" in problem


def test_no_package(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    assert cuda.import_cupy() == (cuda.NO_PACKAGE, None)
    with pytest.raises(BackendUnavailable, match=r"(?s)pip install 'cupy-cuda12x\[ctk\]'.*nanograd\.doctor"):
        Device("cupy")
    assert Device("auto").name == "numpy"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OutOfMemoryError("Out of memory allocating 1,234 bytes"), "lower --batch_size or --block_size"),
        (CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"), "lower --batch_size or --block_size"),
        (CUDARuntimeError("cudaErrorInsufficientDriver: too old"), "update the driver"),
        (CUDARuntimeError("cudaErrorNoKernelImageForDevice"), "update CuPy"),
        (CUDARuntimeError("cudaErrorIllegalAddress"), "report it"),
        (CompileException('a.cuh(12): catastrophic error: cannot open source file "cuda_bf16.h"'), "header files"),
        (CUDARuntimeError("cudaErrorECCUncorrectable"), "hardware"),
        (CUDARuntimeError("something new"), "nanograd.doctor"),
        (ImportError("libcublas.so.12: cannot open shared object file"), r"[ctk]"),
    ],
)
def test_runtime_errors_are_explained(error, says):
    assert says in cuda.describe_error(error)


@pytest.mark.parametrize("error", [ValueError("cuda"), MemoryError(), ImportError("no module named x"), KeyError(1)])
def test_other_errors_are_left_alone(error):
    assert cuda.describe_error(error) is None


def test_out_of_memory_on_the_command_line():
    from gpt.cli.command_line import explain

    code, line = explain(OutOfMemoryError("Out of memory allocating 1,234 bytes (allocated so far: 5 bytes)."))
    assert code == 1 and "--batch_size" in line and "--block_size" in line and "1,234" in line


def test_backend_cupy_without_cuda_ends_with_one_line():
    if cuda.find_cupy()[0] is None:
        pytest.skip("there is a GPU here")
    done = subprocess.run(
        [sys.executable, "train.py", "--backend", "cupy"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert "python -m nanograd.doctor" in done.stderr and not done.stdout
