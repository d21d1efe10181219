"""Turn CuPy's stub build into one against libfakecuda.

python patch_cupy.py FOLDER_WITH_HEADERS        in the sdist as it was unpacked
"""

import pathlib
import re
import shutil
import sys

HEADERS, STUB = pathlib.Path(sys.argv[1]), pathlib.Path("cupy_backends/stub")
MISSING = 'static cublasStatus_t {0}(...) {{ return (cublasStatus_t)fake_missing("{0}"); }}'


def edit(path: str, *changes: tuple[str, str]) -> None:
    """Replace regular expressions in a file. Raises ValueError where there is nothing to replace."""
    file = pathlib.Path(path)
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        changed = re.sub(old, lambda _, new=new: new, text)
        if changed == text:
            raise ValueError(f"{path} has no {old!r}")
        text = changed
    file.write_text(text, encoding="utf-8")


# cuBLAS: what libfakecuda has is declared; the rest says that it is not there.
theirs = set(re.findall(r"\b(cublas\w+)\(\.\.\.\)", (STUB / "cupy_cublas.h").read_text(encoding="utf-8")))
text = (HEADERS / "fake_cublas.h").read_text(encoding="utf-8")
ours = set(re.findall(r"\b(cublas\w+)\(", text))
for macro, letters in (("cublas##S##", "SDCZ"), ("cublas##I##", ("Is", "Id"))):
    for name in re.findall(macro + r"(\w+)\(", text):
        ours |= {f"cublas{letter}{name}" for letter in ("SD" if name in ("asum", "nrm2", "dot") else letters)}
for header in HEADERS.glob("*.h"):
    shutil.copy(header, STUB)
lines = ["#pragma once", '#include "fake_cublas.h"', 'extern "C" {', *map(MISSING.format, sorted(theirs - ours)), "}\n"]
(STUB / "cupy_cublas.h").write_text("\n".join(lines), encoding="utf-8")

edit("install/cupy_builder/_command.py", (r"(?<=compile_time_env\['CUPY_CUDA_VERSION'\] = )0", "12090"))
edit(
    "install/cupy_builder/_features.py",  # these need nvcc, or libraries of which there are none
    (r"\n +_from_dict\(CUDA_(cusolver|nvtx|cutensor|jitify|thrust|cusparselt), ctx\),", ""),
    (r"\n +'cupy_backends.cuda.libs.cu(rand|sparse)',", ""),
)
# No device-wide CUB, which nvcc would have to build: CuPy then falls back to kernels of its own.
edit("cupy/cuda/cub.pyx", (r"(?<=cdef _cub_support_dtype\(bint sum_mode, int dev_id\):\n)", "    return ()\n"))
# Have the number and the sizes of a launch's arguments checked, which no real driver can do.
edit(
    "cupy/cuda/function.pyx",
    (
        r"(?=cdef class CPointer:\n)",
        '''cdef extern from *:
    """
    extern "C" int fake_check_args(void* function, int n, const int* sizes);
    """
    int fake_check_args(void* function, int n, int* sizes)


''',
    ),
    (r"(?<=    kargs.reserve\(len\(args\)\)\n)", "    cdef vector.vector[int] sizes\n"),
    (
        r"(?<=        kargs.push_back\(<void\*>\(cp.ptr\)\)\n)",
        """        sizes.push_back(<int>cp.descr.itemsize if isinstance(cp, _scalar.CScalar) else -1)
    if fake_check_args(<void*>func, <int>sizes.size(), sizes.data()):
        raise TypeError("libfakecuda: a kernel was given other arguments than it has; see stderr")
""",
    ),
)
