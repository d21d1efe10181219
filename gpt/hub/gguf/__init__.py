"""GGUF, llama.cpp's format: `reading` a file, `writing` one, and what its keys and tensors are called (`names`)."""
