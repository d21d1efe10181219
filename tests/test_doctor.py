"""The doctor names what it finds, says what to do about the rest, and never fails itself."""

import subprocess
import sys

import pytest

from nanograd import cuda, doctor


def labels(report):
    return {label for label, _, _ in report.findings}


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


def test_a_machine_with_a_gpu(monkeypatch):
    import strict_xp

    strict_xp.as_cupy(monkeypatch)
    monkeypatch.setattr(doctor.cuda, "cupy_packages", lambda: ["cupy-cuda12x"])
    report = doctor.examine()
    assert report.gpu and {"CUDA", "GPU 0", "libraries"} <= labels(report)
    assert "a CPU that plays a GPU, compute capability 80" in str(report)
    assert "--backend cupy will work" in str(report)


@pytest.mark.parametrize(
    ("driver", "says"), [(0, "no NVIDIA driver"), (11040, "supports CUDA 11.4, CuPy was built for 12.9")]
)
def test_a_driver_that_does_not_fit(monkeypatch, driver, says):
    import strict_xp

    strict_xp.as_cupy(monkeypatch)
    monkeypatch.setattr(doctor.cuda, "cupy_packages", lambda: ["cupy-cuda12x"])
    monkeypatch.setattr(strict_xp.cuda.runtime, "driverGetVersion", lambda: driver)
    report = doctor.examine()
    assert not report.gpu and says in str(report)


def test_the_command():
    done = subprocess.run([sys.executable, "-m", "nanograd.doctor"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and not done.stderr
    assert "NumPy" in done.stdout and "--backend cupy will" in done.stdout
