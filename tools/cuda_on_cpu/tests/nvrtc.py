"""NVIDIA's runtime compiler through ctypes: CUDA source to PTX, on a machine without a GPU."""

import ctypes
import glob
import site
from pathlib import Path


def _library() -> ctypes.CDLL:
    found = [
        path
        for folder in site.getsitepackages()
        for path in glob.glob(f"{folder}/nvidia/cuda_nvrtc/lib/libnvrtc.so.1*")
    ]
    if not found:
        raise RuntimeError("no libnvrtc: pip install nvidia-cuda-nvrtc-cu12")
    for builtins in glob.glob(f"{Path(found[0]).parent}/libnvrtc-builtins.so*"):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)  # which it would else look for on the loader's path
    return ctypes.CDLL(found[0])


_nvrtc = None


def compile_ptx(source: str, options: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """(PTX, {name expression: name in the PTX}) of CUDA source."""
    global _nvrtc
    _nvrtc = _nvrtc or _library()
    program = ctypes.c_void_p()

    def text(size_of, get) -> str:
        size = ctypes.c_size_t()
        size_of(program, ctypes.byref(size))
        held = ctypes.create_string_buffer(size.value)
        get(program, held)
        return held.value.decode()

    def check(code):
        if code:
            log = text(_nvrtc.nvrtcGetProgramLogSize, _nvrtc.nvrtcGetProgramLog)
            raise RuntimeError(f"NVRTC error {code}: {log}")

    check(_nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"source.cu", 0, None, None))
    for name in names:
        check(_nvrtc.nvrtcAddNameExpression(program, name.encode()))
    check(
        _nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options)))
    )
    lowered = {}
    for name in names:
        found = ctypes.c_char_p()
        check(_nvrtc.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(found)))
        lowered[name] = found.value.decode()
    ptx = text(_nvrtc.nvrtcGetPTXSize, _nvrtc.nvrtcGetPTX)
    _nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx, lowered
