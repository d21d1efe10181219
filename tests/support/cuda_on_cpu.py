"""Runs CUDA kernels on a CPU: their source, compiled by g++ behind cuda_on_cpu.h, called through ctypes.

`RawModule` and what its `get_function` returns behave as CuPy's: the same arguments, in the same types. Where a
GPU would read garbage, they raise: an argument of another type than the kernel's, an array of another dtype, a write
beside an array.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BUILT = HERE.parent / ".pytest_cache" / "cuda_on_cpu"
HEADER = HERE / "cuda_on_cpu.h"
COMPILER = shutil.which("g++")
LETTERS = {"float32": "f", "float64": "d", "bfloat16": "b", "int32": "i", "int64": "q", "uint64": "Q"}
FOOTER = """
static const emulator::Entry kernels[] = {%s};
extern "C" const char* signature(int number) { return kernels[number].signature(); }
extern "C" void set_order(int order) { emulator::order = order; }
extern "C" int launch(int number, unsigned* grid, unsigned threads, size_t shared, void** args) {
  using namespace emulator;
  static char* memory = stacks = static_cast<char*>(malloc((size_t)MOST_THREADS * STACK));
  if (!memory || threads > MOST_THREADS || shared > SHARED) return 2;
  body = kernels[number].call, arguments = args, ::emulator::threads = threads;
  gridDim = {grid[0], grid[1], grid[2]}, blockDim = {threads, 1, 1};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) {
        memset(dynamic_shared, 0xff, shared + MARGIN);  // NaN, which nobody should ever read
        if (!run_block()) return 1;
        for (int i = 0; i < MARGIN; ++i)
          if (dynamic_shared[shared + i] != 0xff) return 3;
      }
  return 0;
}
"""
FAILURES = {
    1: "the threads wait for each other forever",
    2: "too large",
    3: "it wrote beside the shared memory that it asked for",
}
order = 0  # in which threads take turns: 0 forward, 1 backward, 2 from changing places


@functools.cache
def compiled(code: str, names: tuple[str, ...]) -> ctypes.CDLL:
    """The shared library of a source and the instances of its templates; kept from one run to the next."""
    table = ", ".join(
        f'{{"{name}", emulator::Kernel<({name})>::call, emulator::Kernel<({name})>::signature}}' for name in names
    )
    text = f'#include "{HEADER.name}"\n{code}\n{FOOTER % table}'
    key = hashlib.sha256((text + HEADER.read_text(encoding="utf-8")).encode()).hexdigest()[:24]
    library = BUILT / f"{key}.so"
    if not library.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        own = f"{key}-{os.getpid()}"  # two test processes may build the same at once
        source, partial = BUILT / f"{own}.cpp", BUILT / f"{own}.so"
        source.write_text(text, encoding="utf-8")
        options = [f"-I{HERE}", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-ffp-contract=off"]
        done = subprocess.run(
            [COMPILER, *options, str(source), "-o", str(partial)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"g++ does not compile {names}:\n{done.stderr[:4000]}")
        partial.replace(library)
        source.unlink()
    loaded = ctypes.CDLL(str(library))
    loaded.signature.restype = ctypes.c_char_p
    return loaded


class RawModule:
    """cupy.RawModule."""

    def __init__(self, code: str, options: tuple[str, ...] = (), name_expressions=None):
        self.code, self.names = code, tuple(name_expressions)

    def get_function(self, name: str) -> "Function":
        return Function(self, self.names.index(name))


class Function:
    """What get_function returns: f((grid), (block), (arguments), shared_mem=bytes)."""

    def __init__(self, module: RawModule, number: int):
        self.module, self.number = module, number
        self.name = module.names[number]
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid, block, args, *, shared_mem: int = 0) -> None:
        library = compiled(self.module.code, self.module.names)
        letters = library.signature(self.number).decode()
        half = len(letters) // 2
        if len(args) != half:
            raise TypeError(f"{self.name} takes {half} arguments, not {len(args)}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(f"{self.name} was not allowed {shared_mem} bytes of shared memory")
        held = [self._argument(i, arg, letters[i], letters[half + i]) for i, arg in enumerate(args)]
        pointers = (ctypes.c_void_p * half)(*(value.ctypes.data for value in held))
        sizes = (ctypes.c_uint * 3)(*grid, *[1] * (3 - len(grid)))
        if not all(sizes) or len(block) != 1 or not 0 < block[0] <= 1024 or max(sizes[1], sizes[2]) > 65535:
            raise ValueError(f"{self.name}: a GPU refuses the grid {grid} of blocks {block}")
        library.set_order(order)
        failed = library.launch(self.number, sizes, ctypes.c_uint(block[0]), ctypes.c_size_t(shared_mem), pointers)
        if failed:
            raise RuntimeError(f"{self.name}: {FAILURES[failed]}")
        for arg in args:
            if hasattr(arg, "check_guards"):
                arg.check_guards(self.name)

    def _argument(self, i: int, arg, kind: str, letter: str) -> np.ndarray:
        """The 8 bytes that stand for the argument, in an array of their own."""
        if hasattr(arg, "data") and hasattr(arg.data, "ptr"):
            given = "p" + LETTERS.get(arg.dtype.name, "?")
            value = np.array(arg.data.ptr, dtype=np.uint64)
        elif isinstance(arg, np.generic):
            given = "v" + LETTERS.get(arg.dtype.name, "?")
            value = np.array(arg)
            if kind == "p" and not arg:
                given = kind + letter  # a null pointer
            elif given == "vq" and letter == "Q" and arg >= 0:
                given = "vQ"
        else:
            raise TypeError(f"{self.name}: argument {i} is a {type(arg).__name__}")
        if given != kind + letter:
            raise TypeError(f"{self.name}: argument {i} is {given}, the kernel wants {kind + letter}")
        return value
