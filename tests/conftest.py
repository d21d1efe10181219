"""What all tests share: how hard hypothesis tries, threads, caches, and a device in float64."""

import gc
import os
import signal
import sys
from pathlib import Path

# Before NumPy is imported: pytest-xdist has as many processes as there are cores, and each needs no more than its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Kept from one run to the next, but out of the user's home: matplotlib's list of fonts takes seconds to make.
os.environ["MPLCONFIGDIR"] = str(Path(__file__).parent.parent / ".pytest_cache" / "matplotlib")
import pytest
from hypothesis import HealthCheck, Phase, settings

from nanograd import Device

# deadline=None: how long an example takes says something about the machine, not about the code.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=10, derandomize=True, **COMMON)
settings.register_profile("full", max_examples=200, derandomize=True, **COMMON)
settings.register_profile("explore", max_examples=2000, **COMMON)  # --hypothesis-profile=explore: new examples

# For mutants.py: that a test fails is enough; the smallest example is not needed.
settings.register_profile(
    "mutants", max_examples=30, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False, **COMMON
)


def pytest_configure(config):
    # A shell starts what it puts into the background with Ctrl-C ignored, and what tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("quick" if "not slow" in config.getoption("-m") else "full")
    # Hundreds of processes import the same modules: what one has compiled the others shall find, whatever the user's
    # settings. But for mutants: the name of a file's bytecode does not tell two of one size and second apart.
    if config.getoption("--hypothesis-profile") != "mutants":
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    # Thousands of tests and what they have imported stay to the end: the garbage collector need not look at them.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The current folder: a short text.txt and a cache of its own; loss.png is not drawn."""
    from tests.support.tiny_training import TEXT

    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("gpt.pictures.draw_loss", lambda runs, path: None)
    return tmp_path


@pytest.fixture
def float64():
    return Device("numpy", dtype="float64", seed=3)


@pytest.fixture(params=[pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu_xp(request):
    """CuPy, on a GPU or through tools/cuda_on_cpu."""
    from nanograd.device.cuda import find_cupy

    missing, cupy = find_cupy()
    if missing:
        pytest.skip(missing)
    if "NANOGRAD_NO_POOL" in os.environ:
        cupy.cuda.set_allocator(None)
    return cupy


@pytest.fixture
def waits(gpu_xp):
    """A function: how often the host has waited for the GPU, or fetched from it, since it was last called."""
    from tools.cuda_on_cpu.counts import is_fake, take_counts

    if not is_fake(gpu_xp):
        pytest.skip("a GPU does not count how often the host waits for it; tools/cuda_on_cpu does")

    def waits() -> int:
        counts = take_counts()
        return sum(counts[name]["launches"] for name in ("wait for the device", "copy to the host") if name in counts)

    return waits
