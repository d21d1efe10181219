"""What OpenBLAS is told: for which processors, and never over what the user has said."""

import os
import subprocess
import sys

import pytest

from nanograd.device import blas_settings
from nanograd.device.blas_settings import CYCLES, IDLE, KERNELS, is_zen4, set_up_blas
from tests.support import ROOT

ZEN3_FLAGS = "fpu vme sse sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 sha_ni"
ZEN4_FLAGS = f"{ZEN3_FLAGS} avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16"


def core(vendor="AuthenticAMD", family=25, flags=ZEN4_FLAGS, number=0):
    """What Linux says of one core."""
    lines = {
        "processor": number,
        "vendor_id": vendor,
        "cpu family": family,
        "model": 17,
        "model name": "a processor: with a colon",
        "flags": flags,
        "bugs": "sysret_ss_attrs avx512f",
        "power management": "",
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n"


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
        return str(tmp_path / "cpuinfo")

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(core(), True, id="Zen 4"),
        pytest.param(core() + core(number=1), True, id="two cores of Zen 4"),
        pytest.param(core().rstrip("\n"), True, id="no empty line at the end"),
        pytest.param(core(flags=ZEN3_FLAGS), False, id="Zen 3"),
        pytest.param(core(family=26), False, id="Zen 5"),
        pytest.param(core(family=23, flags=ZEN3_FLAGS), False, id="Zen 2"),
        pytest.param(core(family=125), False, id="a family of another number"),
        pytest.param(core(vendor="GenuineIntel", family=6), False, id="Intel"),
        pytest.param(core(vendor="GenuineIntel"), False, id="Intel, if it had such a family"),
        pytest.param(core(flags=f"{ZEN3_FLAGS} avx512fp16 noavx512f"), False, id="flags with its name in theirs"),
        pytest.param(core(flags=ZEN3_FLAGS) + core(number=1), False, id="only the second core"),
        pytest.param(core() + core("GenuineIntel", 6, ZEN3_FLAGS, 1), True, id="only the first core"),
        pytest.param("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd avx512f\n", False, id="ARM"),
        pytest.param("", False, id="empty"),
        pytest.param("no colon\n:\n\n", False, id="nonsense"),
    ],
)
def test_a_zen_4_is_known_by_vendor_family_and_avx_512(cpuinfo, text, expected):
    assert is_zen4(cpuinfo(text)) is expected


def test_a_machine_without_that_file_is_none(tmp_path):
    assert not is_zen4(str(tmp_path / "nothing"))


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    (tmp_path / "cpuinfo").write_bytes(b"serial\t: \xff\xfe\n" + core().encode())
    assert is_zen4(str(tmp_path / "cpuinfo"))


def test_the_first_core_is_read_to_its_end(cpuinfo):
    """The flags of a real one come after 700 bytes and take 1700."""
    early, late = ("vmx " * 600, ZEN4_FLAGS)
    assert is_zen4(cpuinfo("x\t: " + "y" * 700 + "\n" + core(flags=early + late)))


@pytest.fixture
def before_numpy(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy")


def test_both_variables_are_set_on_a_zen_4(cpuinfo, before_numpy):
    environment = {"PATH": "/bin"}
    set_up_blas(environment, cpuinfo(core()))
    assert environment == {"PATH": "/bin", "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_THREAD_TIMEOUT": "20"}


def test_other_processors_keep_their_kernels(cpuinfo, before_numpy):
    environment = {}
    set_up_blas(environment, cpuinfo(core(flags=ZEN3_FLAGS)))
    assert environment == {IDLE: CYCLES}


@pytest.mark.parametrize("said", [{KERNELS: "SkylakeX"}, {IDLE: "26"}, {KERNELS: "", IDLE: ""}])
def test_what_the_user_has_set_stays(cpuinfo, before_numpy, said):
    environment = dict(said)
    set_up_blas(environment, cpuinfo(core()))
    assert environment == {KERNELS: "Haswell", IDLE: "20"} | said


def test_it_is_too_late_once_numpy_is_there(cpuinfo, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", object())
    environment = {}
    set_up_blas(environment, cpuinfo(core()))
    assert environment == {}


def test_it_is_this_process_and_this_machine_unless_said_otherwise(monkeypatch, before_numpy):
    asked = []
    monkeypatch.setattr(blas_settings, "is_zen4", lambda path: asked.append(path) or True)
    for name in (KERNELS, IDLE):
        monkeypatch.setenv(name, "")  # first, so that it is put back if it was not there
        monkeypatch.delenv(name)
    set_up_blas()
    assert asked == ["/proc/cpuinfo"] and (os.environ[KERNELS], os.environ[IDLE]) == ("Haswell", "20")


SHOW = "; import os; print(os.environ.get('OPENBLAS_THREAD_TIMEOUT'), end='')"


@pytest.mark.parametrize(
    ("imports", "shown"),
    [
        ("import nanograd", "20"),
        ("import nanograd.layers.layer", "20"),
        ("from gpt.model import GPT", "20"),
        ("from gpt import training, sampling", "20"),
        ("import numpy, nanograd", "None"),
    ],
)
def test_a_fresh_process_is_set_up_before_it_imports_numpy(imports, shown):
    environment = {name: value for name, value in os.environ.items() if name not in (KERNELS, IDLE)}
    command = [sys.executable, "-c", imports + SHOW]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (shown, "")
