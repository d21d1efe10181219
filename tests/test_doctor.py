"""The doctor names what it finds, says what to do about the rest, and never fails itself."""

import os
import subprocess
import sys

import pytest
import threadpoolctl

from nanograd import doctor
from nanograd.device import cuda
from nanograd.device.cores import available_cores
from tests.support.gpu import array_stub


def labels(report):
    return {label for label, _, _ in report.findings}


def told(report, label):
    """(text, fine) of the one finding with that label."""
    (found,) = ((text, fine) for name, text, fine in report.findings if name == label)
    return found


@pytest.mark.parametrize(("number", "expected"), [(1, "1 thread"), (7, "7 threads")])
def test_a_thread_is_not_several(monkeypatch, number, expected):
    blas = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "num_threads": number}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [blas])
    assert told(doctor.examine(), "NumPy")[0].endswith(f"with {expected}")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU; what plays CuPy."""
    monkeypatch.setattr(doctor.cuda, "cupy_packages", lambda: ["cupy-cuda12x"])
    return array_stub.as_cupy(monkeypatch)


def test_names_everything(monkeypatch):
    monkeypatch.setattr(doctor.cuda, "import_cupy", lambda: (cuda.NO_PACKAGE, None))
    report = doctor.examine()
    assert {"Python", "NumPy", "cores", "CuPy", "nvidia-smi", "NCCL", "MPI"} <= labels(report)
    assert not report.gpu
    text = str(report)
    assert "pip install 'cupy-cuda12x[ctk]'" in text and "--backend cupy will not work" in text


def test_every_finding_that_is_not_fine_has_advice(monkeypatch):
    monkeypatch.setattr(doctor.cuda, "import_cupy", lambda: (cuda.NO_PACKAGE, None))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    report = doctor.examine()
    assert {label for label, _, fine in report.findings if not fine} <= {label for label, _ in report.advice}
    assert told(report, "nvidia-smi") == ("not found", False)


# What NumPy has


def test_the_libraries_and_cores_of_numpy(monkeypatch):
    blas = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "num_threads": 7}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [blas | {"user_api": "openmp"}, blas, blas])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    report = doctor.examine()
    one = "openblas 0.3 with 7 threads"
    assert told(report, "NumPy") == (f"{doctor.np.__version__}, BLAS: {one}, {one}", True)
    cores = f"{available_cores()} of {os.cpu_count()} may be used"
    assert told(report, "cores") == (f"{cores}, OMP_NUM_THREADS=3", True)
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [blas | {"architecture": "Zen"}])
    assert told(doctor.examine(), "NumPy") == (f"{doctor.np.__version__}, BLAS: {one}, its kernels for Zen", True)


def test_a_numpy_without_a_blas(monkeypatch):
    monkeypatch.setattr(threadpoolctl, "threadpool_info", list)
    report = doctor.examine()
    assert told(report, "NumPy") == (f"{doctor.np.__version__}, its BLAS was not recognised", False)
    assert ("NumPy", "pip install --force-reinstall numpy") in report.advice


# What a GPU has


def test_a_machine_with_a_gpu(monkeypatch, gpu):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed, which is part of such a machine")
    monkeypatch.setattr(gpu.Device, "mem_info", (3 << 30, 8 << 30))
    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceCount", lambda: 2)
    report = doctor.examine()
    assert report.gpu and "--backend cupy will work" in str(report)
    assert told(report, "CuPy") == ("14.0.0 (cupy-cuda12x)", True)
    assert told(report, "CUDA") == ("driver up to 12.9, CuPy uses 12.9", True)
    assert told(report, "libraries") == ("cuBLAS and NVRTC load", True)
    assert told(report, "ml_dtypes")[1]
    for number in (0, 1):
        expected = "a GPU that is not there, compute capability 80, 3.0 of 8.0 GiB free"
        assert told(report, f"GPU {number}") == (expected, True)


def test_a_gpu_without_nvidia_smi_lacks_nothing(monkeypatch, gpu):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    report = doctor.examine()
    assert report.gpu and told(report, "nvidia-smi")[1] and "nvidia-smi" not in dict(report.advice)


@pytest.mark.parametrize(("free", "enough"), [(10, False), (11, True), (100, True), (0, False)])
def test_a_gpu_whose_memory_is_taken(monkeypatch, gpu, free, enough):
    monkeypatch.setattr(gpu.Device, "mem_info", (free, 100))
    report = doctor.examine()
    assert report.gpu and told(report, "GPU 0")[1] is enough
    assert [label for label, _ in report.advice].count("GPU 0") == (not enough)


@pytest.mark.parametrize(
    ("driver", "shown", "says"),
    [(0, "none", "no NVIDIA driver"), (11040, "11.4", "supports CUDA 11.4, CuPy was built for 12.9")],
)
def test_a_driver_that_does_not_fit(monkeypatch, gpu, driver, shown, says):
    monkeypatch.setattr(gpu.cuda.runtime, "driverGetVersion", lambda: driver)
    report = doctor.examine()
    assert not report.gpu and says in str(report) and "GPU 0" not in labels(report)
    assert told(report, "CUDA") == (f"driver up to {shown}, CuPy uses 12.9", False)


@pytest.mark.parametrize("error", [RuntimeError, ImportError, OSError])
def test_a_driver_that_does_not_answer(monkeypatch, gpu, error):
    def fail():
        raise error("gone")

    monkeypatch.setattr(gpu.cuda.runtime, "driverGetVersion", fail)
    report = doctor.examine()
    assert not report.gpu and told(report, "CUDA") == ("does not answer: gone", False)
    assert ("CUDA", "the CUDA driver does not answer (gone)") in report.advice


def test_a_library_that_is_missing(monkeypatch, gpu):
    monkeypatch.setattr(gpu.cuda, "cublas", None)
    report = doctor.examine()
    assert not report.gpu and told(report, "libraries") == ("cuBLAS or NVRTC is missing", False)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ("14.0.0 (not from a package)", True)),
        (["cupy-cuda11x", "cupy-cuda12x"], ("cupy-cuda11x, cupy-cuda12x", False)),
    ],
)
def test_where_cupy_comes_from(monkeypatch, gpu, names, expected):
    monkeypatch.setattr(doctor.cuda, "cupy_packages", lambda: names)
    assert told(doctor.examine(), "CuPy") == expected


def test_no_cupy_at_all(monkeypatch):
    monkeypatch.setattr(doctor.cuda, "import_cupy", lambda: (cuda.NO_PACKAGE, None))
    monkeypatch.setattr(doctor.cuda, "cupy_packages", list)
    assert told(doctor.examine(), "CuPy") == ("not installed", False)


def test_no_ml_dtypes(monkeypatch, gpu):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    report = doctor.examine()
    assert report.gpu and told(report, "ml_dtypes") == ("not installed", False)


# What nvidia-smi says


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays nvidia-smi")
@pytest.mark.parametrize(
    ("script", "expected", "fine"),
    [
        ("#!/bin/sh\necho GPU one\necho GPU two\necho noise >&2\n", ["GPU one", "GPU two"], True),
        ("#!/bin/sh\nexit 0\n", ["no output"], True),
        ("#!/bin/sh\necho no driver >&2\necho sorry >&2\nexit 9\n", ["no driver"], False),
        ("#!/no/such/shell\n", ["does not answer: "], False),
    ],
)
def test_nvidia_smi(monkeypatch, tmp_path, script, expected, fine):
    (tmp_path / "nvidia-smi").write_text(script)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = doctor.Report()
    doctor._driver(report)
    assert [(text.startswith(start), ok) for (_, text, ok), start in zip(report.findings, expected, strict=True)] == [
        (True, fine)
    ] * len(expected)
    assert bool(report.advice) is not fine


def test_nvidia_smi_that_hangs(monkeypatch):
    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("nvidia-smi", timeout)

    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    monkeypatch.setattr(doctor.subprocess, "run", hang)
    report = doctor.Report()
    doctor._driver(report)
    assert told(report, "nvidia-smi") == ("does not answer: Command 'nvidia-smi' timed out after 60 seconds", False)


# The command


@pytest.mark.parametrize(("usable", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_the_gpu_that_was_asked_for_can_be_used(monkeypatch, capsys, usable, code):
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Report([("Python", "3", True)], gpu=usable))
    assert doctor.main(["--backend", "cupy"]) == doctor.main(["--backend=cupy"]) == code
    assert doctor.main() == 0 and doctor.main(["--gpus"]) == 2
    assert capsys.readouterr().out.startswith("ok  Python  3\n")


def test_the_command():
    done = subprocess.run([sys.executable, "-m", "nanograd.doctor"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and not done.stderr
    assert "NumPy" in done.stdout and "--backend cupy will" in done.stdout


def test_nobody_has_to_read_to_the_end():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nanograd.doctor"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
