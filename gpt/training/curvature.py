"""How curved the loss is while a run trains: sharpness and trace of its Hessian, for `--log_sharpness`.

Both are of the loss of a few windows of the training text, the same ones throughout, without dropout. They are computed
on a copy of the model in NumPy's float64, so neither the backend nor the precision of a run matters, and nothing of the
run is touched: its losses are the same, to the last bit, as without it.
"""

import numpy as np

from gpt.config.options import TrainConfig
from gpt.data.batches import EVAL_TRAIN, draw_batch
from gpt.model import GPT
from nanograd import Device
from nanograd.gradcheck import hessian_trace, sharpness
from nanograd.layers.layer import to_host

POSITIONS = 512  # of the windows, about
SIGNS = 4  # vectors for the trace: one measurement is rough, and there is a next


class Curvature:
    """Measures the Hessian of a model's loss on windows of `tokens` (N,)."""

    def __init__(self, model: GPT, config: TrainConfig, tokens: np.ndarray):
        self.model = model
        T = model.config.block_size
        self.batch = draw_batch(tokens, max(1, POSITIONS // T), T, config.seed, EVAL_TRAIN, 0)
        self.copy = GPT(model.config, Device("numpy", "float64")).eval()

    def measure(self) -> dict[str, float]:
        """{"sharpness", "hessian_trace", "hessian_trace_error"}: the last is the trace's standard error."""
        for parameter, own in zip(self.copy.parameters(), self.model.parameters(), strict=True):
            parameter.value[...] = to_host(own.value)
        trace = hessian_trace(self.copy, *self.batch, vectors=SIGNS)
        return {
            "sharpness": sharpness(self.copy, *self.batch),
            "hessian_trace": trace.mean,
            "hessian_trace_error": trace.error,
        }
