"""The models that are timed: their shapes, ours, and the same written in PyTorch."""
