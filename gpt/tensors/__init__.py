"""Tensors in files: safetensors, as a whole (safetensors) and a piece at a time (tensor_file)."""
