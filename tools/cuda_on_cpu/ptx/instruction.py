"""All instructions of PTX that are known."""

from .control import Control
from .floats import Floats
from .memory import Memory
from .warps import Warps


class Instruction(Floats, Memory, Control, Warps):
    """One instruction of PTX."""
