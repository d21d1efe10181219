"""NVIDIA's compilers take every kernel, with CuPy's options, for the GPUs that most people have. Needs no GPU."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nanograd.device.cuda import library_problem
from nanograd.kernels import launching

PRECISIONS = tuple(launching.C_TYPES)
ATTENTION_SIZES = ", 64, 32, true>", ", 256, 16, false>", ", 256, 8, false>"
FAMILIES = {
    family: tuple(name for precision in PRECISIONS for name in launching.instances(family, precision))
    for family in launching.FAMILIES
}
FAMILIES["attention"] = (
    *(f"attention_delta<{c}>" for c in launching.C_TYPES.values()),
    *(
        f"attention{part}<{c}{sizes}"
        for part in ("", "_dq", "_dkv")
        for c in launching.C_TYPES.values()
        for sizes in ATTENTION_SIZES
    ),
)
FAMILIES["attention_mma"] = tuple(
    f"attention{part}_mma<{c}, {D}, {drops}>"
    for part in ("", "_dq", "_dkv")
    for c, D, drops in (
        ("bfloat16", 64, "false"),
        ("bfloat16", 128, "true"),
        ("float", 64, "false"),
        ("float", 16, "true"),
    )
)


def ptxas() -> str | None:
    """NVIDIA's assembler: that of the package nvidia-cuda-nvcc-cu12, or one on the PATH."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else ()
    found = [path for place in places for path in Path(place).glob("cuda_nvcc/bin/ptxas")]
    return str(found[0]) if found else shutil.which("ptxas")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_compiles_and_keeps_its_arrays_in_registers(tmp_path, family, arch):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, through which NVRTC is called")
    problem = library_problem(cupy)
    if problem and "NVRTC" in problem:
        pytest.skip(problem)
    from cupy.cuda import nvrtc

    names = FAMILIES[family]
    program = nvrtc.createProgram(launching.source(family), f"{family}.cu", [], [])
    for name in names:
        nvrtc.addNameExpression(program, name)
    options = "-ftz=true", f"-arch={arch.replace('sm', 'compute')}", "--device-as-default-execution-space"  # CuPy's
    try:
        nvrtc.compileProgram(program, (*launching.OPTIONS, *options))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    assert all(nvrtc.getLoweredName(program, name) for name in names)
    assembler = ptxas()
    if assembler is None:
        pytest.skip("ptxas is not installed, which tells registers: pip install nvidia-cuda-nvcc-cu12")
    source = tmp_path / "kernels.ptx"
    source.write_bytes(nvrtc.getPTX(program).rstrip(b"\0"))
    command = [assembler, "-v", f"-arch={arch}", str(source), "-o", str(tmp_path / "kernels.cubin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", done.stderr)
    assert len(frames) >= len(names)
    assert set(frames) == {("0", "0")}, f"an array of a thread lies in slow memory: {done.stderr[-3000:]}"
