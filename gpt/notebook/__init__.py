"""What a notebook shows of a run: tables, curves, progress. Where there is no kernel, IPython is not imported."""

from gpt.notebook.curve import LossCurve
from gpt.notebook.live import LiveCurve

__all__ = ["LiveCurve", "LossCurve"]
