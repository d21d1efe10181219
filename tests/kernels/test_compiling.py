"""NVIDIA's compilers take every kernel, with CuPy's options, for the GPUs that most people have. Needs no GPU."""

import pytest

from benchmarks.gpu_counts.assembled import CompileError, assembled, compiled, ptxas
from nanograd.device.cuda import library_problem
from nanograd.kernels import launching

PRECISIONS = tuple(launching.C_TYPES)
ATTENTION_SIZES = ", 64, 32, true>", ", 256, 16, false>", ", 256, 8, false>"
FAMILIES = {
    family: tuple(name for precision in PRECISIONS for name in launching.instances(family, precision))
    for family in launching.FAMILIES
}
FAMILIES["attention"] = tuple(
    f"attention{part}<{c}{sizes}"
    for part in ("", "_dq", "_dkv")
    for c in launching.C_TYPES.values()
    for sizes in ATTENTION_SIZES
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
FAMILIES["attention_whole_mma"] = tuple(f"attention_whole_mma<bfloat16, 64, {drops}>" for drops in ("false", "true"))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_compiles_and_keeps_its_arrays_in_registers(tmp_path, family, arch):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, through which NVRTC is called")
    problem = library_problem(cupy)
    if problem and "NVRTC" in problem:
        pytest.skip(problem)
    names = FAMILIES[family]
    try:
        if ptxas() is None:
            compiled(family, names, arch)
            pytest.skip("ptxas is not installed, which tells registers: pip install nvidia-cuda-nvcc-cu12")
        found = assembled(family, names, arch, tmp_path)
    except CompileError as error:
        pytest.fail(str(error))
    assert found.keys() == set(names)
    slow = {name: one for name, one in found.items() if one.stack or one.spilled}
    assert not slow, "an array of a thread, or a register, lies in slow memory"
