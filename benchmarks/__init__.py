"""Measurements, run by hand: `python -m benchmarks.train_speed` and its neighbours. Results are in RESULTS.md."""

import nanograd  # noqa: F401  before NumPy, which reads nanograd/device/blas_settings.py's settings when it is imported
