"""Measurements, run by hand: `python -m benchmarks.train_speed` and its neighbours. Results are in RESULTS.md."""
