"""What tests of kernels share: arrays and launches without a GPU, and one computation on both sides."""
