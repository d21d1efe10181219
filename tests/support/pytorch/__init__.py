"""The same layers, models, optimisers and runs in PyTorch, and what it recorded of them."""
