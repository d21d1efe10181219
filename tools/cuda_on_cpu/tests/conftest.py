"""The helpers of these tests lie beside them, and the translator above, however pytest imports."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
