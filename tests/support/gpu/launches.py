"""What kernels are launched with, without launching any."""

import types

import numpy as np

from nanograd import kernels
from nanograd.kernels import launching
from tests.support.gpu import array_stub


class Launches:
    """What plays the GPU: it keeps what it is asked to run."""

    def __init__(self, monkeypatch):
        self.asked = []
        monkeypatch.setattr(launching, "kernel", lambda xp, device, family, name, shared: self.note(name))

    def note(self, name):
        return lambda grid, block, arguments, shared_mem: self.asked.append((name, grid, block, arguments, shared_mem))


def array(size: int, dtype="float32"):
    """An array of that many elements, without them."""
    return types.SimpleNamespace(
        size=size,
        dtype=np.dtype(dtype),
        itemsize=np.dtype(dtype).itemsize,
        data=types.SimpleNamespace(ptr=0),
        strides=(4,),
        flags=types.SimpleNamespace(c_contiguous=True),
        device=types.SimpleNamespace(id=0),
    )


def zeros(*shape, dtype="float32"):
    return array_stub.zeros(shape, dtype=dtype)


def launched(monkeypatch, twin, *arguments):
    """[(kernel, grid, threads, its whole numbers)] of the launches of a twin, none of which is done."""
    asked = []

    def note(family, name, grid, threads, *args, like, **options):
        asked.append((f"{family}: {name}", grid, threads, [arg for arg in args if type(arg) is int]))

    for module in (launching, kernels, kernels.attention, kernels.sums):
        monkeypatch.setattr(module, "launch", note)
    twin(*arguments)
    return asked
