"""A run's folder: checkpoints, metrics, lock, loading."""
